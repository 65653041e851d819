"""One recovery point as it is read: root → pages → entries → contents, everything authenticated on the way.

The tree and small contents are read through windows of packs (8 MiB, aligned), of which a few are cached. Large
contents and many contents are read ahead on several threads (:mod:`drbackup.vault.read.read_ahead`). A reader is not
thread-safe: each thread has its own.
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
from drbackup.vault.read.demand import Demand
from drbackup.vault.read.read_ahead import DataPacks, PackFetch, ReadAhead
from drbackup.vault.tree import Entry, Extent, PageRef, Root, decode_page, decode_root, decode_top, path_key
from drbackup.wire.messages import Place

WINDOW = 8 << 20  # bytes
ALONE = 8 << 20  # bytes of a content that is read without threads
_PIECE = 4 << 20  # bytes of a content that one thread opens at a time
_GROUPS = 12  # of such pieces, opened or nearly so before somebody asks for them
_PAGES_COUNTED = 512  # pages of a tree; fewer than the windows hold, so that none is fetched twice
_WINDOWS, _CHUNKS, _OPENERS = 6, 8, 256
K = TypeVar("K")
V = TypeVar("V")
_T = TypeVar("_T")


class PointReader:
    """One point of one domain, to be read.

    ``root``: encoded :class:`~drbackup.vault.tree.Root` from the record. ``threads``: so many open chunks when contents
    are read ahead. A content of up to ``alone`` bytes is read without them.

    All methods raise :class:`ObjectCorrupt`, :class:`~drbackup.errors.FormatUnsupported`,
    :class:`~drbackup.errors.WrongKey` or what ``fetch`` raises.
    """

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
        self._demand: Demand | None = None  # of contents that will be read ahead, until it is filled
        self._window_bytes = 0

    @property
    def fetched_bytes(self) -> int:
        """The bytes of packs fetched so far."""
        return self._window_bytes + self._packs.fetched_bytes

    def pages(self) -> list[PageRef]:
        """The tree's pages, in path order, as its top lists them."""
        return decode_top(self._chunk(TREE, self.root.top), "the tree's top", self.root.top.pack)

    def page(self, page: PageRef) -> list[Entry]:
        """The entries of one page, in path order. Points that share a page have the same place for it."""
        return decode_page(self._chunk(TREE, page.place), "the tree")

    def entries(self, prefix: bytes = b"") -> Iterator[Entry]:
        """The entries in path order: all, or ``prefix`` itself and what lies below it.

        When all are asked for and their number is not the root's, :class:`RestoreMismatch` is raised after the last.
        """
        pages = self._pages_of(prefix)
        self._count_demand(prefix, pages)
        count = 0
        for entry in self._entries(prefix, pages):
            count += 1
            yield entry
        if not prefix and count != self.root.entries:
            raise RestoreMismatch(
                say("the tree has {count} entries instead of {entries}", count=count, entries=self.root.entries)
            )

    def find(self, path: bytes) -> Entry | None:
        """The entry of exactly this path; None without one."""
        entries = self._entries(path, self._pages_of(path))
        return next((entry for entry in entries if entry.path == path), None)

    def content(self, entry: Entry) -> Iterator[bytes]:
        """The entry's bytes in order, without its holes. Each piece is authenticated before it is given out.

        Raises :class:`ObjectCorrupt` when a piece is damaged. Raises :class:`RestoreMismatch` after the last piece when
        the whole has another digest than the source had while it was read.
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
        """A :class:`~drbackup.vault.read.read_ahead.ReadAhead` to which many contents of this point can be added.

        ``take`` gets their authenticated parts on other threads, and has to check the digest of each whole content.
        When this is called before :meth:`entries`, the demand of all their contents is counted beforehand.
        """
        self._demand = Demand()
        return ReadAhead(self._packs, take, threads=self._threads, spent=self.spent, demand=self._demand)

    def spent(self, opening: float, taking: float) -> None:
        """A place to count time; does nothing here. Called by each thread that opens chunks.

        ``opening``: seconds of opening chunks; ``taking``: seconds of what was done with them in the same thread.
        """

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

    def _count_demand(self, prefix: bytes, pages: Sequence[PageRef]) -> None:
        """The demand of the contents in these pages is counted, which walks the pages once more.

        Only where whole packs are fetched by one request: there a request costs more than the walk.
        """
        demand, self._demand = self._demand, None
        if demand is None or self._fetch.stretch < PACK_SIZE:
            return
        for page in pages[:_PAGES_COUNTED]:
            if demand.full:
                return
            for entry in self._entries(prefix, (page,)):
                demand.add(entry.extents)

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
    """A large content that is read ahead: groups of extents are opened at once and given out in order."""

    def __init__(self, extents: Sequence[Extent]) -> None:
        self._groups = _grouped(extents)
        self._pieces: dict[int, dict[int, bytes]] = {}  # group → number of its part → bytes
        self._parts: dict[int, int] = {}  # group → how many parts it has, once that is known

    def keep(self, part: Part[int], memory: memoryview) -> None:
        """A copy of the part is kept until it is given out. Called on the opening threads."""
        joined = b"".join([memory[start:end] for start, end in part.spans])
        self._pieces.setdefault(part.owner, {})[part.number] = joined
        if part.last:
            self._parts[part.owner] = part.number + 1

    def pieces(self, ahead: ReadAhead[int]) -> Iterator[bytes]:
        """The content's bytes, in order. ``ahead`` must give its parts to :meth:`keep`."""
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
