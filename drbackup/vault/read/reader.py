"""Reads one recovery point: root → pages → entries → contents, everything authenticated on the way.

The tree, and contents small enough not to matter, are read through windows of packs (8 MiB, aligned) kept in a small
cache. Large contents and many contents are read ahead on several threads (:mod:`drbackup.vault.read.read_ahead`). Not
thread-safe: one reader a thread.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import zstandard
from blake3 import blake3

from drbackup.errors import ObjectCorrupt, RestoreMismatch, say
from drbackup.vault.keys import Keyring
from drbackup.vault.layout import DATA, TREE, pack_name
from drbackup.vault.pack import HEADER_LIMIT, PACK_SIZE, PackOpener, unpack
from drbackup.vault.read.batches import Part, require_place
from drbackup.vault.read.demand import Foresight
from drbackup.vault.read.read_ahead import DataPacks, PackFetch, ReadAhead
from drbackup.vault.tree import Entry, Extent, PageRef, Root, decode_page, decode_root, decode_top, path_key
from drbackup.wire.messages import Place

WINDOW = 8 << 20
ALONE = 8 << 20
_PIECE = 4 << 20  # bytes of a content that one thread opens at a time
_GROUPS = 12  # of such pieces, opened or nearly so before somebody asks for them
_FORESEEN = 512  # pages of a tree; fewer than the windows hold, so that none is fetched twice
_WINDOWS, _CHUNKS, _OPENERS = 6, 8, 256
K = TypeVar("K")
V = TypeVar("V")
_T = TypeVar("_T")


class PointReader:
    """One point of one domain. ``root``: encoded :class:`~drbackup.vault.tree.Root` from the record; ``threads`` open
    chunks when contents are read ahead. A content of up to ``alone`` bytes is read without threads."""

    def __init__(
        self,
        fetch: PackFetch,
        keyring: Keyring,
        domain: str,
        root: bytes,
        threads: int = 2,
        alone: int = ALONE,
    ) -> None:
        self._fetch = fetch
        self._keyring = keyring
        self._domain = domain
        self.root: Root = decode_root(root)
        self._windows: OrderedDict[tuple[str, bytes, int], bytes | memoryview] = OrderedDict()
        self._chunks: OrderedDict[bytes, bytes] = OrderedDict()
        self._openers: OrderedDict[tuple[str, bytes], PackOpener] = OrderedDict()
        self._inflate = zstandard.ZstdDecompressor()
        self._threads = threads
        self._alone = alone
        self._packs = DataPacks(fetch, keyring, domain)
        self._foresight: Foresight | None = None  # of contents that will be read ahead, until it is filled
        self._window_bytes = 0

    @property
    def fetched_bytes(self) -> int:
        """Bytes of packs so far."""
        return self._window_bytes + self._packs.fetched_bytes

    def pages(self) -> list[PageRef]:
        """Where the tree's pages lie, in path order."""
        return decode_top(self._chunk(TREE, self.root.top), "the tree's top", self.root.top.pack)

    def page(self, page: PageRef) -> list[Entry]:
        """One page's entries, in path order. Points that share a page share its place."""
        return decode_page(self._chunk(TREE, page.place), "the tree")

    def entries(self, prefix: bytes = b"") -> Iterator[Entry]:
        """Entries in path order: all, or ``prefix`` itself and what lies below it.

        Raises :class:`RestoreMismatch` behind the last one when all were asked for and their number is not the root's.
        """
        pages = self._pages_of(prefix)
        self._foresee(prefix, pages)
        count = 0
        for entry in self._entries(prefix, pages):
            count += 1
            yield entry
        if not prefix and count != self.root.entries:
            raise RestoreMismatch(
                say("the tree has {count} entries instead of {entries}", count=count, entries=self.root.entries)
            )

    def find(self, path: bytes) -> Entry | None:
        """The entry of exactly this path."""
        entries = self._entries(path, self._pages_of(path))
        return next((entry for entry in entries if entry.path == path), None)

    def content(self, entry: Entry) -> Iterator[bytes]:
        """The entry's bytes in order, without its holes. Every piece is authenticated before it is given out.

        Raises :class:`ObjectCorrupt` when a piece is damaged, and :class:`RestoreMismatch` behind the last piece when
        the whole does not have the digest that was taken while the source was read.
        """
        hasher = blake3()
        for piece in self._pieces(entry.extents):
            hasher.update(piece)
            yield piece
        if entry.digest and hasher.digest() != entry.digest:
            raise RestoreMismatch(
                say("{path}: the restored content has another digest than the copied one", path=repr(entry.path))
            )

    def read_ahead(self, take: Callable[[Part[_T], memoryview], None]) -> ReadAhead[_T]:
        """For reading many contents: each is added, and ``take`` gets its authenticated parts on other threads. The
        digest of the whole is for ``take`` to check. Asked for before :meth:`entries`, it knows of all of them at once.
        """
        self._foresight = Foresight()
        return ReadAhead(self._packs, take, threads=self._threads, spent=self.spent, foresight=self._foresight)

    def spent(self, opening: float, taking: float) -> None:
        """Told, by whatever thread spent them, the seconds of opening chunks and of what was done with them there."""

    def _pages_of(self, prefix: bytes) -> list[PageRef]:
        """The pages that ``prefix`` and what lies below it can be in."""
        pages = self.pages()
        if not prefix:
            return pages
        keys = [path_key(page.first) for page in pages]
        first = max(bisect_right(keys, path_key(prefix)) - 1, 0)
        last = bisect_left(keys, path_key(prefix) + b"\1", lo=first)  # behind the separator of what lies below
        return pages[first:last]

    def _entries(self, prefix: bytes, pages: Sequence[PageRef]) -> Iterator[Entry]:
        below = prefix + b"/"
        for page in pages:
            for entry in self.page(page):
                if not prefix or entry.path == prefix or entry.path.startswith(below):
                    yield entry

    def _foresee(self, prefix: bytes, pages: Sequence[PageRef]) -> None:
        """Walk the pages once more, for what contents will need of which pack. Only where a pack is worth one request:
        there a request costs more than the walk."""
        foresight, self._foresight = self._foresight, None
        if foresight is None or self._fetch.stretch < PACK_SIZE:
            return
        for page in pages[:_FORESEEN]:
            if foresight.full:
                return
            for entry in self._entries(prefix, (page,)):
                foresight.add(entry.extents)

    def _pieces(self, extents: Sequence[Extent]) -> Iterator[bytes]:
        if sum(extent.length for extent in extents) <= self._alone:
            return map(self._piece, extents)
        return self._opened_ahead(extents)

    def _opened_ahead(self, extents: Sequence[Extent]) -> Iterator[bytes]:
        opened = _Opened(extents)
        with ReadAhead(self._packs, opened.keep, threads=self._threads, spent=self.spent) as ahead:
            yield from opened.pieces(ahead)

    def _piece(self, extent: Extent) -> bytes:
        chunk = self._chunk(DATA, extent.place)
        if extent.start < 0 or extent.length < 0 or extent.start + extent.length > len(chunk):
            raise ObjectCorrupt("an extent reaches outside its chunk", where=extent.place.pack.hex())
        if extent.length == len(chunk):
            return chunk
        return chunk[extent.start : extent.start + extent.length]

    def _chunk(self, kind: str, place: Place) -> bytes:
        if (known := self._chunks.get(place.id)) is not None:
            self._chunks.move_to_end(place.id)
            return known
        what = pack_name(self._domain, kind, place.pack)
        require_place(place, what)
        opener = self._opener(kind, place.pack, what)
        sealed = self._range(kind, place.pack, place.offset, place.size)
        begun = time.monotonic()
        stored = opener.open(place.ordinal, sealed, place.id)
        try:
            plain = unpack(stored, place.raw, self._inflate)
        except zstandard.ZstdError as bad:
            raise ObjectCorrupt(
                say("{what}: chunk {ordinal} does not decompress: {why}", what=what, ordinal=place.ordinal, why=bad),
                where=what,
            ) from bad
        if len(plain) != place.raw:
            raise ObjectCorrupt(
                say(
                    "{what}: chunk {ordinal} has {n} bytes, not {raw}",
                    what=what,
                    ordinal=place.ordinal,
                    n=len(plain),
                    raw=place.raw,
                ),
                where=what,
            )
        self.spent(time.monotonic() - begun, 0.0)
        _remember(self._chunks, place.id, plain, _CHUNKS)
        return plain

    def _opener(self, kind: str, pack: bytes, what: str) -> PackOpener:
        key = (kind, pack)
        if (known := self._openers.get(key)) is None:
            known = PackOpener(bytes(self._range(kind, pack, 0, HEADER_LIMIT)), self._domain, self._keyring, what)
            if known.header.kind != kind:
                raise ObjectCorrupt(
                    say("{what}: is of kind {kind}", what=what, kind=repr(known.header.kind)), where=what
                )
            _remember(self._openers, key, known, _OPENERS)
        return known

    def _range(self, kind: str, pack: bytes, offset: int, length: int) -> memoryview:
        first, last = offset // WINDOW, max(offset + length - 1, offset) // WINDOW
        windows = [self._window(kind, pack, number) for number in range(first, last + 1)]
        joined = memoryview(windows[0] if first == last else b"".join(windows))
        return joined[offset - first * WINDOW : offset - first * WINDOW + length]

    def _window(self, kind: str, pack: bytes, number: int) -> bytes | memoryview:
        key = (kind, pack, number)
        if (known := self._windows.get(key)) is None:
            known = self._fetch.fetch(kind, self._domain, pack, number * WINDOW, WINDOW)
            self._window_bytes += len(known)
            _remember(self._windows, key, known, _WINDOWS)
        else:
            self._windows.move_to_end(key)
        return known


class _Opened:
    """A large content on its way: cut into groups of extents that are opened at once and given out in order."""

    def __init__(self, extents: Sequence[Extent]) -> None:
        self._groups = _grouped(extents)
        self._pieces: dict[int, dict[int, bytes]] = {}  # group → number of its part → bytes
        self._parts: dict[int, int] = {}  # group → how many parts it has, once that is known

    def keep(self, part: Part[int], memory: memoryview) -> None:
        """Called on the opening threads."""
        joined = b"".join([memory[start:end] for start, end in part.spans])
        self._pieces.setdefault(part.owner, {})[part.number] = joined
        if part.last:
            self._parts[part.owner] = part.number + 1

    def pieces(self, ahead: ReadAhead[int]) -> Iterator[bytes]:
        """The content. ``ahead`` gives its parts to :meth:`keep`."""
        added = given = 0
        while True:
            if added - given <= _GROUPS // 2:  # in bursts, so that one request fetches what several groups need
                for group in islice(self._groups, _GROUPS - (added - given)):
                    ahead.add(added, group)
                    added += 1
                ahead.begin()
            if given == added:
                return
            ahead.wait(lambda number=given: self._whole(number))  # type: ignore[misc]
            parts = self._pieces.pop(given)
            yield from (parts[number] for number in range(self._parts.pop(given)))
            given += 1

    def _whole(self, group: int) -> bool:
        return len(self._pieces.get(group, ())) == self._parts.get(group, -1)


def _grouped(extents: Sequence[Extent]) -> Iterator[list[Extent]]:
    group: list[Extent] = []
    size = 0
    for extent in extents:
        group.append(extent)
        size += extent.length
        if size >= _PIECE:
            yield group
            group, size = [], 0
    if group:
        yield group


def _remember(cache: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    cache[key] = value
    if len(cache) > most:
        cache.popitem(last=False)
