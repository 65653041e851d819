"""Writes one recovery point: contents become chunks, entries become pages, pages become the root.

Entries must come in the tree's order (:func:`drbackup.vault.tree.path_key`); contents may come from several threads.
Pages are encoded as soon as every content in them has its place, so memory does not grow with the source.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import msgspec
from blake3 import blake3

from drbackup.vault.layout import DATA, INDEX, TREE
from drbackup.vault.pack import SessionKey
from drbackup.vault.suite import content_digest, derive
from drbackup.vault.tree import (
    HERE,
    PAGE_WEIGHT,
    Entry,
    EntryKind,
    Extent,
    PageRef,
    Root,
    encode_page,
    ends_page,
    path_key,
    weight,
)
from drbackup.vault.write.chunker import Block, Cutter, coarser, cut_fixed
from drbackup.vault.write.pack_sink import Chunk, ChunkSink, PackDestination
from drbackup.wire.messages import Place
from drbackup.wire.specs import DomainKeys

SEGMENT_LEAST, SEGMENT_STEP, SEGMENT_MOST = 512 << 10, 512 << 10, 2 << 20
_SETTLED_TOGETHER = 256  # entries between two looks at whether the oldest have their places
_WAITING_MOST = 32 * 1024  # entries that may wait for their contents before the open pack is closed early


@dataclass(slots=True)
class Content:
    """What one entry's bytes became. ``extents`` can be read once the writer has finished."""

    size: int
    digest: bytes
    pieces: list[tuple[Chunk | _Segment, int, int]] = field(default_factory=list)
    _extents: tuple[Extent, ...] | None = None

    @property
    def extents(self) -> tuple[Extent, ...]:
        """Raises ``ValueError`` while a place is not known yet."""
        if not self.settled:
            raise ValueError("this content is still on its way")
        assert self._extents is not None
        return self._extents

    @property
    def settled(self) -> bool:
        """Whether every place is known. Asked again and again, so what was found once is kept and the pieces go."""
        if self._extents is None:
            found = []
            for piece, start, length in self.pieces:
                place = piece.settled()
                if place is None:
                    return False
                found.append(Extent(place, start, length))
            self._extents, self.pieces = tuple(found), []
        return True


class _Segment:
    """Small files joined into one chunk."""

    __slots__ = ("chunk", "parts", "size")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.chunk: Chunk | None = None

    def settled(self) -> Place | None:
        return self.chunk.settled() if self.chunk else None


def _ends_segment(digest: bytes, size: int) -> bool:
    """Whether a segment may end behind this file: decided by the file alone, with a chance that grows with its size, so
    that segments grow by :data:`SEGMENT_STEP` bytes on average beyond the least, and runs over nearly the same files
    meet again at the same borders."""
    return int.from_bytes(digest[:4], "big") * SEGMENT_STEP < size << 32


class Written(msgspec.Struct, frozen=True):
    """A finished point. ``root`` is an encoded :class:`~drbackup.vault.tree.Root`; ``packs`` are kind letter + SHA-256
    (33 bytes each) of every pack the point needs, sorted; the rest counts entries, rows and bytes."""

    root: bytes
    packs: tuple[bytes, ...]
    entries: int
    files: int
    rows: int
    content_bytes: int
    new_bytes: int
    stored_bytes: int


class PointWriter:
    """Collects one recovery point. Leaving its ``with`` block by an exception abandons the point."""

    def __init__(self, destination: PackDestination, keys: DomainKeys, *, workers: int = 2, session: str = "") -> None:
        id_key = keys.chunk_id_key.value
        self._session = session
        self._destination = destination
        self._data = ChunkSink(destination, SessionKey.new(DATA, keys), id_key, workers)
        # Tree chunks have names of their own: a tree may be opened by more keys than content, so the two never mix.
        self._tree_id_key = derive(id_key, "tree-chunk-id")
        self._tree = ChunkSink(destination, SessionKey.new(TREE, keys), self._tree_id_key, 1)
        self._keys = keys
        self._cutter = Cutter(keys.cut_key.value)
        self._segment = _Segment()
        self._waiting: deque[tuple[Entry, Content | None]] = deque()
        self._page: list[Entry] = []
        self._page_weight = 0
        self._pages: list[tuple[bytes, Chunk]] = []
        self._kept_packs: set[bytes] = set()
        self._last: bytes | None = None
        self.entries = self.files = self.rows = self.content_bytes = self.done_bytes = 0

    @property
    def stored_bytes(self) -> int:
        """Bytes stored so far, for the progress."""
        return self._data.stored_bytes + self._tree.stored_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self._data.abort()
            self._tree.abort()

    # --- contents ------------------------------------------------------------------------------------------------

    def stream(self, blocks: Iterable[Block], *, fixed: int = 0) -> Content:
        """Store a stream; its content. Cut by content, or every ``fixed`` bytes for page files. Any thread."""
        hasher = blake3()
        size = 0

        def seen() -> Iterable[Block]:
            nonlocal size
            for block in blocks:
                hasher.update(block)
                size += len(block)
                self.done_bytes += len(block)
                yield block

        chunks = coarser(cut_fixed(seen(), fixed) if fixed else self._cutter.cut(seen()))
        content = Content(0, b"")
        content.pieces = [(self._data.add(chunk), 0, len(chunk)) for chunk in chunks]
        content.size, content.digest = size, hasher.digest()
        return content

    def small(self, data: bytes) -> Content:
        """Store a small file, joined with its neighbours into a segment. One thread, in path order, so that runs over
        the same files make the same segments: a segment ends behind a file whose own digest says so."""
        digest = content_digest(data)
        content = Content(len(data), digest)
        self.done_bytes += len(data)
        if not data:
            return content
        segment = self._segment
        content.pieces.append((segment, segment.size, len(data)))
        segment.parts.append(data)
        segment.size += len(data)
        if segment.size >= SEGMENT_MOST or (segment.size >= SEGMENT_LEAST and _ends_segment(digest, len(data))):
            self._end_segment()
        return content

    def _end_segment(self) -> None:
        if self._segment.size:
            self._segment.chunk = self._data.add(b"".join(self._segment.parts))
            self._segment.parts = []
            self._segment = _Segment()

    # --- entries -------------------------------------------------------------------------------------------------

    def add(self, entry: Entry, content: Content | None = None) -> None:
        """Add one path. Raises ``ValueError`` unless paths ascend strictly; that is a defect of the source."""
        key = path_key(entry.path)
        if self._last is not None and key <= self._last:
            raise ValueError(f"{entry.path!r} comes after {self._last!r}: not in tree order")
        self._last = key
        self.entries += 1
        self.files += entry.kind == EntryKind.FILE
        self.rows += max(entry.rows, 0)
        self.content_bytes += content.size if content is not None else 0
        self._waiting.append((entry, content))
        if len(self._waiting) % _WAITING_MOST == 0:
            self._end_segment()
            self._data.hurry()
        if self.entries % _SETTLED_TOGETHER == 0:
            self._settle()

    def keep(self, entry: Entry) -> None:
        """Add one path whose content is unchanged since an earlier point of this domain: the entry has its digest and
        its extents already, and nothing is read. Raises as :meth:`add`."""
        self.add(entry)
        size = 0
        for extent in entry.extents:
            self._kept_packs.add(extent.place.pack)
            size += extent.length
        self.content_bytes += size
        self.done_bytes += size

    def finish(self) -> Written:
        """Store what is left, then the pages, the top and the index delta. Raises what went wrong in any thread."""
        self._end_segment()
        self._data.finish()
        self._settle()
        if self._waiting:  # such entries would be missing from the tree without a word
            raise ValueError(f"{self._waiting[0][0].path!r}: its content was never handed over to this writer")
        if self._page:
            self._end_page()
        root_place = self._write_top()
        packs = {b"p" + pack for pack in self._data.packs | self._kept_packs}
        packs |= {b"t" + pack for pack in self._tree.packs}
        index_bytes = self._write_index()
        root = Root(root_place, self.entries, self.files, self.rows, self.content_bytes, len(packs))
        return Written(
            root=msgspec.msgpack.encode(root),
            packs=tuple(sorted(packs)),
            entries=self.entries,
            files=self.files,
            rows=self.rows,
            content_bytes=self.content_bytes,
            new_bytes=self._data.new_bytes,
            stored_bytes=self.stored_bytes + index_bytes,
        )

    def _settle(self) -> None:
        """Move entries whose contents have places into pages, in order."""
        while self._waiting:
            entry, content = self._waiting[0]
            if content is not None:
                if not content.settled:
                    return
                entry = msgspec.structs.replace(
                    entry, digest=content.digest, extents=content.extents, size=max(entry.size, content.size)
                )
            self._waiting.popleft()
            heavy = weight(entry)
            if self._page and self._page_weight + heavy > PAGE_WEIGHT:
                self._end_page()
            self._page.append(entry)
            self._page_weight += heavy
            if ends_page(entry.path, len(self._page)):
                self._end_page()

    def _end_page(self) -> None:
        self._pages.append((self._page[0].path, self._tree.add(encode_page(self._page))))
        self._page, self._page_weight = [], 0

    def _write_top(self) -> Place:
        """The top, in the pack of the newest pages: they and it are read together, and one object is one request."""
        firsts = [first for first, _ in self._pages]

        def encoded(places: Sequence[Place]) -> bytes:
            return msgspec.msgpack.encode([PageRef(*each) for each in zip(firsts, places, strict=True)])

        top = self._tree.close_with([chunk for _, chunk in self._pages], encoded, HERE)
        self._tree.finish()
        place = top.settled()
        assert place is not None
        return place

    def _write_index(self) -> int:
        """An index delta: the tables of the packs this session stored, so that a catalog can be rebuilt from few small
        objects. Written last and needed by no reader: a crash before it costs a slower rebuild, nothing else."""
        tables = self._data.tables + self._tree.tables
        if not tables:
            return 0
        sink = ChunkSink(self._destination, SessionKey.new(INDEX, self._keys), derive(self._tree_id_key, "index-id"), 1)
        for name, places in tables:
            sink.add(msgspec.msgpack.encode((self._session, name, places)))
        sink.finish()
        return sink.stored_bytes
