"""The agent's cache of files as they were last read, so that unchanged ones need not be opened again.

One file per domain, system and source, replaced atomically after a run whose point the controller has. It is a hint
and nothing else: when it is lost, damaged or of another vault, one run reads everything.

A row counts only when size, mtime, ctime and inode are the same. Both times must also be 2 s (:data:`RACY_NS`) older
than the beginning of the run that wrote the row. A file written in the same clock tick as it was read looks unchanged.

Layout: _MAGIC, then batches (u32 big-endian length, msgpack rows) in tree order, then the BLAKE3 of everything before
it (32 bytes). The first batch is the header.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec
from blake3 import blake3

from drbackup.vault.tree import Extent, path_key
from drbackup.vault.write.writer import Content
from drbackup.wire.decode_errors import UNREADABLE

_MAGIC = b"drbackup-cache-2\n"
RACY_NS = 2_000_000_000  # how long before a run a file must have changed last, to count as unchanged later
BATCH = 1024  # rows
_LENGTH = struct.Struct(">I")


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One file as it was read."""

    path: bytes  # in the tree
    size: int  # bytes
    mtime_ns: int  # UTC nanoseconds
    ctime_ns: int  # UTC nanoseconds
    inode: int
    digest: bytes  # BLAKE3 of the content without the holes
    extents: tuple[Extent, ...]  # where the content lies in the vault
    xattrs: tuple[tuple[bytes, bytes], ...]  # (name, value)
    holes: tuple[tuple[int, int], ...]  # (offset, length) in bytes


class _Header(msgspec.Struct, frozen=True, array_like=True):
    mark: bytes  # of the vault's keys
    begun_ns: int  # when the run began, UTC nanoseconds


_Fresh = tuple[bytes, os.stat_result, tuple[tuple[bytes, bytes], ...], Content, tuple[tuple[int, int], ...]]
"""A file as it was just read, its content perhaps still on its way: path, facts, attributes, content, holes."""


class FileCache:
    """The last run's rows, read in tree order, and this run's, which are gathered. For one thread."""

    def __init__(
        self,
        folder: Path,
        label: tuple[str, str, str],
        mark: bytes,
        *,
        begun_ns: int,
        retired: frozenset[bytes] = frozenset(),
    ) -> None:
        name = blake3("\0".join(label).encode()).hexdigest(length=16)
        self.path = folder / "cache" / f"{name}.files"
        self._partial = self.path.with_suffix(".partial")
        self._mark = mark
        self._begun_ns = begun_ns
        self._retired = retired
        self._trusted_before = 0
        self._rows: Iterator[Row] = iter(())
        self._row: Row | None = None  # the next one that was not asked for yet
        self._out: BinaryIO | None = None
        self._hash = blake3()
        self._trouble: OSError | None = None  # why this run's rows can't be written; the run goes on without them
        self._pending: deque[Row | _Fresh] = deque()

    # --- the last run --------------------------------------------------------------------------------------------

    def load(self) -> None:
        """The last run's rows are ready for :meth:`find`. Rows with anything wrong count as none."""
        try:
            with self.path.open("rb") as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):
            return
        body = len(data) - 32
        if (
            body < len(_MAGIC)
            or data[: len(_MAGIC)] != _MAGIC
            or blake3(memoryview(data)[:body]).digest() != data[body:]
        ):
            return
        try:
            header, at = _batch(data, len(_MAGIC), _Header)
        except UNREADABLE:
            return
        if header.mark != self._mark or header.begun_ns > self._begun_ns:
            return  # another vault, or a clock that went back: times can't be compared
        self._trusted_before = header.begun_ns - RACY_NS
        self._rows = _rows(data, at, body)
        self._row = next(self._rows, None)

    def find(self, path: bytes, stat: os.stat_result) -> Row | None:
        """The row of an unchanged file, None for another one. Paths must be asked in tree order.

        None also when some of its content lies in a retired pack: it is read and stored again, or that pack would be
        kept for ever.
        """
        row = self._row
        if row is not None and row.path != path:  # files came, went or are others: the next row may be far
            key = path_key(path)
            while row is not None and path_key(row.path) < key:
                row = next(self._rows, None)
            self._row = row
        if row is None or row.path != path:
            return None
        self._row = next(self._rows, None)
        same = (
            row.size == stat.st_size
            and row.mtime_ns == stat.st_mtime_ns
            and row.ctime_ns == stat.st_ctime_ns
            and row.inode == stat.st_ino
            and row.mtime_ns < self._trusted_before
            and row.ctime_ns < self._trusted_before
        )
        if same and self._retired and any(extent.place.pack in self._retired for extent in row.extents):
            return None
        return row if same else None

    # --- this run ------------------------------------------------------------------------------------------------

    def keep(self, row: Row) -> None:
        """A row that :meth:`find` gave is in this run's rows, too. In tree order with the others."""
        self._gather(row)

    def remember(
        self,
        path: bytes,
        stat: os.stat_result,
        xattrs: tuple[tuple[bytes, bytes], ...],
        content: Content,
        holes: tuple[tuple[int, int], ...] = (),
    ) -> None:
        """A file that was read is in this run's rows. In tree order with the others.

        It is written out as soon as its content has its place in a pack, so that memory stays bounded.
        """
        self._gather((path, stat, xattrs, content, holes))

    def _gather(self, file: Row | _Fresh) -> None:
        if self._trouble is not None:
            return
        self._pending.append(file)
        # Packs are stored in any order and kept content has its place at once, so each row is asked, not the last one.
        if len(self._pending) % BATCH == 0 and all(map(_settled, islice(self._pending, BATCH))):
            try:
                self._flush(BATCH)
            except OSError as bad:  # a full disk under the cache is no failure of the source
                self.close()
                self._trouble = bad

    def save(self) -> None:
        """This run's rows have replaced the last run's. After a crash before the rename the last run's are still used.

        Raises ``OSError`` when they could not be written, now or while they were gathered.
        """
        if self._trouble is not None:
            raise self._trouble
        while self._pending:
            self._flush(min(BATCH, len(self._pending)))
        out = self._open()
        out.write(self._hash.digest())
        out.flush()
        os.fsync(out.fileno())
        out.close()
        self._out = None
        self._partial.replace(self.path)  # its folder is not synced: a lost cache costs reading, never a point

    def close(self) -> None:
        """Gathered rows that were not saved are gone, and so is their partial file."""
        self._pending.clear()
        if self._out is not None:
            with contextlib.suppress(OSError):  # what is thrown away need not reach a full disk
                self._out.close()
            self._out = None
            self._partial.unlink(missing_ok=True)

    def _open(self) -> BinaryIO:
        if self._out is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            self._out = os.fdopen(handle, "wb", buffering=1 << 20)
            self._hash = blake3()
            self._put(self._out, _MAGIC)
            self._put_batch(self._out, _Header(self._mark, self._begun_ns))
        return self._out

    def _put(self, out: BinaryIO, data: bytes) -> None:
        self._hash.update(data)
        out.write(data)

    def _put_batch(self, out: BinaryIO, value: object) -> None:
        data = msgspec.msgpack.encode(value)
        self._put(out, _LENGTH.pack(len(data)) + data)

    def _flush(self, count: int) -> None:
        rows = [_row(file) for file in islice(self._pending, count)]
        for _ in rows:
            self._pending.popleft()
        self._put_batch(self._open(), rows)


def _settled(file: Row | _Fresh) -> bool:
    return isinstance(file, Row) or file[3].settled


def _row(file: Row | _Fresh) -> Row:
    if isinstance(file, Row):
        return file
    path, stat, xattrs, content, holes = file
    return Row(
        path=path,
        size=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        ctime_ns=stat.st_ctime_ns,
        inode=stat.st_ino,
        digest=content.digest,
        extents=content.extents,
        xattrs=xattrs,
        holes=holes,
    )


def _batch(data: mmap.mmap, at: int, kind: type[_Header]) -> tuple[_Header, int]:
    (size,) = _LENGTH.unpack_from(data, at)  # never past the end: at least the hash of 32 bytes follows
    end = at + _LENGTH.size + size
    return msgspec.msgpack.decode(data[at + _LENGTH.size : end], type=kind), end


def _rows(data: mmap.mmap, at: int, end: int) -> Iterator[Row]:
    decoder = msgspec.msgpack.Decoder(list[Row])
    while at < end:
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        try:
            rows = decoder.decode(data[at : at + size])
        except UNREADABLE:
            return  # what is left is read from the source again
        yield from rows
        at += size
