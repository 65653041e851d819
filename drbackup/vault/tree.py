"""Trees: what a recovery point contains, as pages of entries in path order.

A page is one sealed chunk of a tree pack: its entries, and the packs they refer to. Pages are cut by the entries' own
paths, so a changed file changes its page and no other; the unchanged pages deduplicate. The top chunk lists the pages
with their first paths, so one file is found without reading all. The record holds a :class:`Root`: where the top lies.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Sequence
from typing import Annotated

import msgspec

from drbackup.errors import ObjectCorrupt, say
from drbackup.wire.decode_errors import UNREADABLE
from drbackup.wire.messages import Place

PAGE_LEAST, PAGE_MOST, PAGE_MASK = 128, 4096, 0x3FF
PAGE_LIMIT = 1 << 16  # entries a reader takes from one page: four bytes make one, and an enemy could fill our memory
HERE = bytes(32)  # stands for the pack that a top lies in: a pack can't hold its own name, the hash of its bytes
PAGE_WEIGHT = 4 << 20  # encoded bytes; a page of few but large files is full long before it has many entries


class EntryKind(enum.IntEnum):
    """What an entry is. A hard link's ``target`` is the tree path of the first link."""

    FILE = 0
    DIR = 1
    SYMLINK = 2
    HARDLINK = 3
    FIFO = 4
    CHAR = 5
    BLOCK = 6
    SOCKET = 7


class Extent(msgspec.Struct, frozen=True, array_like=True):
    """``length`` bytes of content: those from ``start`` on of the chunk at ``place``."""

    place: Place
    start: int
    length: int


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One path of a tree. ``path`` relative with ``/``, any bytes but NUL; times UTC nanoseconds; sizes bytes.

    ``digest``: BLAKE3 of the content without holes counted in, 32 bytes, empty for what has no content. ``holes``:
    (offset, length) pairs of a sparse file: ``size`` counts them, ``extents`` do not. ``rows``: −1 when not a table.
    """

    path: bytes
    kind: EntryKind
    mode: int = 0
    uid: int = 0
    gid: int = 0
    user: str = ""
    group: str = ""
    mtime_ns: int = 0
    atime_ns: int = 0
    size: int = 0
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    digest: bytes = b""
    rows: int = -1
    extents: tuple[Extent, ...] = ()
    holes: tuple[tuple[int, int], ...] = ()


class Root(msgspec.Struct, frozen=True, array_like=True):
    """Where a tree begins, and its totals."""

    top: Place
    entries: int
    files: int
    rows: int
    content_bytes: int
    packs: int = 0


class PageRef(msgspec.Struct, frozen=True, array_like=True):
    """One page: the path of its first entry, and its place. As stored, the pack of a place is :data:`HERE` for a page
    in the same pack as the top."""

    first: bytes
    place: Place


_PAGE: msgspec.msgpack.Decoder[list[Entry]] = msgspec.msgpack.Decoder(
    Annotated[list[Entry], msgspec.Meta(max_length=PAGE_LIMIT)]
)


def path_key(path: bytes) -> bytes:
    """Sort key of the tree's order: component by component, so that a folder is followed by what it contains."""
    return path.replace(b"/", b"\0")


def ends_page(path: bytes, count: int) -> bool:
    """Whether a page of ``count`` entries ends after ``path``. Decided by the path, so pages stay put between runs."""
    return count >= PAGE_MOST or (count >= PAGE_LEAST and zlib.crc32(path) & PAGE_MASK == 0)


def weight(entry: Entry) -> int:
    """Encoded bytes of an entry, never too few."""
    facts = len(entry.path) + len(entry.target) + 4 * len(entry.user) + 4 * len(entry.group) + 200
    attributes = sum([len(name) + len(value) + 16 for name, value in entry.xattrs]) if entry.xattrs else 0
    return facts + attributes + 100 * len(entry.extents) + 20 * len(entry.holes)


def encode_page(entries: Sequence[Entry]) -> bytes:
    """msgpack array of entries."""
    return msgspec.msgpack.encode(entries)


def decode_page(data: bytes, what: str) -> list[Entry]:
    """Raises :class:`ObjectCorrupt` naming ``what``."""
    try:
        return _PAGE.decode(data)
    except UNREADABLE as bad:
        raise ObjectCorrupt(say("{what}: a tree page can't be read: {why}", what=what, why=bad), where=what) from bad


def decode_top(data: bytes, what: str, pack: bytes) -> list[PageRef]:
    """``pack``: the one the top lies in, 32 bytes. Raises :class:`ObjectCorrupt` naming ``what``."""
    try:
        refs = msgspec.msgpack.decode(data, type=list[PageRef])
    except UNREADABLE as bad:
        raise ObjectCorrupt(say("{what}: a tree's top can't be read: {why}", what=what, why=bad), where=what) from bad
    found = msgspec.structs.replace
    return [PageRef(ref.first, found(ref.place, pack=pack)) if ref.place.pack == HERE else ref for ref in refs]


def decode_root(data: bytes) -> Root:
    """Raises :class:`ObjectCorrupt`."""
    try:
        return msgspec.msgpack.decode(data, type=Root)
    except UNREADABLE as bad:
        raise ObjectCorrupt(say("a tree's root can't be read: {why}", why=bad)) from bad
