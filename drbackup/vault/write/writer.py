"""One recovery point as it is written: contents become chunks, entries become pages, pages become the root.

Entries must come in the tree's order (:func:`drbackup.vault.tree.path_key`); contents may come from several threads.
Pages are encoded as soon as all contents in them have their places, so memory does not grow with the source.

A point whose content is incomplete is refused. What is written here is no point yet: that takes a record.
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

SEGMENT_LEAST, SEGMENT_STEP, SEGMENT_MOST = 512 << 10, 512 << 10, 2 << 20  # bytes
_SETTLED_TOGETHER = 256  # entries between two looks at whether the oldest have their places
_WAITING_MOST = 32 * 1024  # entries that may wait for their contents before the open pack is closed early


@dataclass(slots=True)
class Content:
    """One entry's bytes, as the chunks that they became. The extents are known when the writer has finished."""

    size: int  # bytes
    digest: bytes  # BLAKE3 of them, 32 bytes
    pieces: list[tuple[Chunk | _Segment, int, int]] = field(default_factory=list)  # (chunk, start in it, length)
    _extents: tuple[Extent, ...] | None = None  # once all places are known

    @property
    def extents(self) -> tuple[Extent, ...]:
        """The extents of the content, in order. Raises ``ValueError`` while a place is not known yet."""
        if not self.settled:
            raise ValueError("this content is still on its way")
        assert self._extents is not None
        return self._extents

    @property
    def settled(self) -> bool:
        """Whether all places are known. Asked often, so the extents are kept once they are known, and the pieces go."""
        if self._extents is None:
            found = []
            for piece, start, length in self.pieces:
                place = piece.known_place()
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

    def known_place(self) -> Place | None:
        return self.chunk.known_place() if self.chunk else None


def _ends_segment(digest: bytes, size: int) -> bool:
    """Whether a segment may end behind this file. The file alone decides it.

    The chance grows with the file's size (bytes), so segments are on average :data:`SEGMENT_STEP` bytes larger than the
    least. Two runs over nearly the same files then end most segments at the same files.
    """
    return int.from_bytes(digest[:4], "big") * SEGMENT_STEP < size << 32


class Written(msgspec.Struct, frozen=True):
    """A finished point, ready to be committed."""

    root: bytes  # an encoded drbackup.vault.tree.Root
    packs: tuple[bytes, ...]  # kind letter + SHA-256 (33 bytes) of each pack the point needs, sorted
    entries: int
    files: int
    rows: int  # of all tables
    content_bytes: int  # bytes of all contents
    new_bytes: int  # content bytes that the vault did not have
    stored_bytes: int  # bytes of the packs that were stored


class PointWriter:
    """One recovery point on its way into the store. An exception that leaves its ``with`` block abandons the point."""

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
        """The bytes of packs stored so far, for showing progress."""
        return self._data.stored_bytes + self._tree.stored_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self._data.abort()
            self._tree.abort()

    # --- contents ------------------------------------------------------------------------------------------------

    def stream(self, blocks: Iterable[Block], *, fixed: int = 0) -> Content:
        """The content of a stream that is handed over to be stored. May be called from any thread.

        Cut by what it holds, or every ``fixed`` bytes for page files. Raises as
        :meth:`~drbackup.vault.write.pack_sink.ChunkSink.add`, and what reading the blocks raises.
        """
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
        """The content of a small file that is handed over to be stored in one chunk with its neighbours, a segment.

        To be called from one thread, in path order. A segment ends behind a file whose own digest says so. So runs
        over the same files make the same segments.
        """
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
        """One path more in the tree. Raises ``ValueError`` unless paths ascend strictly: the source has a defect."""
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
        """One path more, with a content unchanged since an earlier point of this domain. Raises as :meth:`add`.

        ``entry`` has its digest and its extents already, and nothing is read.
        """
        self.add(entry)
        size = 0
        for extent in entry.extents:
            self._kept_packs.add(extent.place.pack)
            size += extent.length
        self.content_bytes += size
        self.done_bytes += size

    def finish(self) -> Written:
        """The finished point: all contents, pages, the top and the index delta are stored.

        Raises what went wrong in any thread, and ``ValueError`` for an entry whose content was never handed over.
        """
        self._end_segment()
        self._data.finish()
        self._settle()
        if self._waiting:  # such entries would be missing from the tree, and nobody would know
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
        """Entries whose contents have places go into pages, in order, up to the first without."""
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
        """The place of the top. It is in the pack of the newest pages, so one request reads it and them."""
        firsts = [first for first, _ in self._pages]

        def encoded(places: Sequence[Place]) -> bytes:
            return msgspec.msgpack.encode([PageRef(*each) for each in zip(firsts, places, strict=True)])

        top = self._tree.close_with([chunk for _, chunk in self._pages], encoded, HERE)
        self._tree.finish()
        place = top.known_place()
        assert place is not None
        return place

    def _write_index(self) -> int:
        """The bytes stored of an index delta: the tables of the packs that this session stored.

        With it a catalog is rebuilt from few small objects. It is written last and no reader needs it. A crash before
        it makes a rebuild slower and costs nothing else.
        """
        tables = self._data.tables + self._tree.tables
        if not tables:
            return 0
        sink = ChunkSink(self._destination, SessionKey.new(INDEX, self._keys), derive(self._tree_id_key, "index-id"), 1)
        for name, places in tables:
            sink.add(msgspec.msgpack.encode((self._session, name, places)))
        sink.finish()
        return sink.stored_bytes
