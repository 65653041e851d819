"""Trees: what a recovery point contains, as pages of entries in path order.

A page is one sealed chunk of a tree pack; it holds entries. Where a page ends depends on the entries' own paths only.
So a changed file changes its own page, and all other pages deduplicate. The top chunk lists the pages with their first
paths, so one file is found without reading all pages. The record holds a :class:`Root`, which says where the top lies.

Reading is bounded: a page with too many entries is refused before it takes memory.
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

PAGE_LEAST, PAGE_MOST, PAGE_MASK = 128, 4096, 0x3FF  # entries, entries, bits of a path's CRC-32 that end a page when 0
PAGE_LIMIT = 1 << 16  # entries a reader takes from one page: an entry may be four bytes, and many would fill the memory
HERE = bytes(32)  # stands for the pack that a top lies in: a pack can't hold its own name, the hash of its bytes
PAGE_WEIGHT = 4 << 20  # encoded bytes that end a page too: few but large files may have very many extents


class EntryKind(enum.IntEnum):
    """The kind of an entry, as the format numbers it."""

    FILE = 0
    DIR = 1
    SYMLINK = 2
    HARDLINK = 3  # target: the tree path of the first link
    FIFO = 4
    CHAR = 5
    BLOCK = 6
    SOCKET = 7


class Extent(msgspec.Struct, frozen=True, array_like=True):
    """A piece of an entry's content: consecutive bytes of one chunk."""

    place: Place  # of the chunk
    start: int  # first byte, counted in the chunk's plain bytes
    length: int  # bytes


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One path of a tree: a file, a folder, a table or another thing of the source."""

    path: bytes  # relative, components separated by /, any bytes but NUL
    kind: EntryKind
    mode: int = 0  # permission bits, 0o7777
    uid: int = 0
    gid: int = 0
    user: str = ""  # name of uid at the source; empty: not known
    group: str = ""  # name of gid at the source; empty: not known
    mtime_ns: int = 0  # UTC nanoseconds
    atime_ns: int = 0  # UTC nanoseconds; 0: not recorded
    size: int = 0  # bytes, holes counted in
    target: bytes = b""  # of a link
    device: tuple[int, int] = (0, 0)  # major and minor number of a device file
    xattrs: tuple[tuple[bytes, bytes], ...] = ()  # (name, value)
    digest: bytes = b""  # BLAKE3 of the content without its holes, 32 bytes; empty: no content
    rows: int = -1  # of a table; -1: not a table
    extents: tuple[Extent, ...] = ()  # the content in order, without its holes
    holes: tuple[tuple[int, int], ...] = ()  # (offset, length) in bytes, of a sparse file


class Root(msgspec.Struct, frozen=True, array_like=True):
    """The place where a tree begins, and the tree's totals."""

    top: Place  # of the chunk that lists the pages
    entries: int
    files: int
    rows: int  # of all tables
    content_bytes: int  # without holes
    packs: int = 0  # that the point needs


class PageRef(msgspec.Struct, frozen=True, array_like=True):
    """One page of a tree, as the top lists it."""

    first: bytes  # path of its first entry
    place: Place  # as stored, its pack is HERE when the page is in the same pack as the top


_PAGE: msgspec.msgpack.Decoder[list[Entry]] = msgspec.msgpack.Decoder(
    Annotated[list[Entry], msgspec.Meta(max_length=PAGE_LIMIT)]
)


def path_key(path: bytes) -> bytes:
    """The sort key of the tree's order. Paths are compared by component, so a folder's content follows it at once."""
    return path.replace(b"/", b"\0")


def ends_page(path: bytes, count: int) -> bool:
    """Whether a page of ``count`` entries ends after ``path``. The path decides, so pages end alike in every run."""
    return count >= PAGE_MOST or (count >= PAGE_LEAST and zlib.crc32(path) & PAGE_MASK == 0)


def weight(entry: Entry) -> int:
    """The bytes of an encoded entry, estimated, never too few."""
    facts = len(entry.path) + len(entry.target) + 4 * len(entry.user) + 4 * len(entry.group) + 200
    attributes = sum([len(name) + len(value) + 16 for name, value in entry.xattrs]) if entry.xattrs else 0
    return facts + attributes + 100 * len(entry.extents) + 20 * len(entry.holes)


def encode_page(entries: Sequence[Entry]) -> bytes:
    """The bytes of a page: a msgpack array of its entries."""
    return msgspec.msgpack.encode(entries)


def decode_page(data: bytes, what: str) -> list[Entry]:
    """The entries of a page. Raises :class:`ObjectCorrupt`, naming ``what``."""
    try:
        return _PAGE.decode(data)
    except UNREADABLE as bad:
        raise ObjectCorrupt(say("{what}: a tree page can't be read: {why}", what=what, why=bad), where=what) from bad


def decode_top(data: bytes, what: str, pack: bytes) -> list[PageRef]:
    """The pages that a top lists, in path order. ``pack``: the one that the top lies in, 32 bytes.

    Raises :class:`ObjectCorrupt`, naming ``what``.
    """
    try:
        refs = msgspec.msgpack.decode(data, type=list[PageRef])
    except UNREADABLE as bad:
        raise ObjectCorrupt(say("{what}: a tree's top can't be read: {why}", what=what, why=bad), where=what) from bad
    found = msgspec.structs.replace
    return [PageRef(ref.first, found(ref.place, pack=pack)) if ref.place.pack == HERE else ref for ref in refs]


def decode_root(data: bytes) -> Root:
    """The root of a tree, from its bytes in a record. Raises :class:`ObjectCorrupt`."""
    try:
        return msgspec.msgpack.decode(data, type=Root)
    except UNREADABLE as bad:
        raise ObjectCorrupt(say("a tree's root can't be read: {why}", why=bad)) from bad
