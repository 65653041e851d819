"""The journal of the files that a restore has finished, so that a repetition after an interruption can skip them.

It is a file beside the target with one msgpack row per finished file, removed when the restore is complete. A row is a
hint: the file's digest is checked again before it is skipped. So an incomplete file after a power cut never counts as
finished.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from stat import S_ISREG
from types import TracebackType
from typing import Self

import msgspec

from drbackup.wire.decode_errors import UNREADABLE
from drbackup_agent.sources.files.restore_slot import target_error

_FLUSH = 256 << 10  # bytes
_LONGEST = 1 << 20  # bytes of one row: a path and three numbers


class _Row(msgspec.Struct, frozen=True, array_like=True):
    path: bytes
    size: int  # bytes
    mtime_ns: int  # UTC nanoseconds
    inode: int


class RestoreJournal:
    """The finished files of one restore. It is used as a context manager while the restore runs."""

    def __init__(self, path: Path, purpose: str) -> None:
        """``purpose`` names point and target; rows of another purpose don't count."""
        self._path = path
        self._head = b"drbackup-restore-1 " + os.fsencode(purpose) + b"\n"
        self._rows: dict[bytes, _Row] = {}
        self._handle = -1
        self._gathered = bytearray()
        self._mutex = threading.Lock()
        self.resumes = self._read()  # whether an interrupted restore of this purpose left its journal

    def __enter__(self) -> Self:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        flags |= os.O_APPEND if self.resumes else os.O_TRUNC
        try:
            self._handle = os.open(self._path, flags, 0o600)
            if not self.resumes:
                os.write(self._handle, self._head)
        except OSError as bad:
            raise target_error(bad, str(self._path)) from bad
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._flush()
        except OSError:
            if kind is None:
                raise
        finally:
            os.close(self._handle)

    def knows(self, path: bytes, stat: os.stat_result) -> bool:
        """Whether exactly this file was finished before: the same path, size, mtime and inode."""
        row = self._rows.get(path)
        return row is not None and (row.size, row.mtime_ns, row.inode) == (stat.st_size, stat.st_mtime_ns, stat.st_ino)

    def done(self, path: bytes, stat: os.stat_result) -> None:
        """A finished file is in the journal, written with the next 256 KiB. From any thread."""
        row = msgspec.msgpack.encode(_Row(path, stat.st_size, stat.st_mtime_ns, stat.st_ino))
        with self._mutex:
            self._gathered += len(row).to_bytes(4, "big") + row
            if len(self._gathered) >= _FLUSH:
                self._flush()

    def remove(self) -> None:
        """The journal's file is gone. Only when the restore is complete."""
        self._path.unlink(missing_ok=True)

    def _flush(self) -> None:
        os.write(self._handle, self._gathered)
        self._gathered.clear()

    def _read(self) -> bool:
        try:
            # Without O_NONBLOCK a pipe that somebody put there would make us wait for its writer.
            handle = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return False
        with os.fdopen(handle, "rb") as file:
            facts = os.fstat(handle)
            ours = S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid()
            if not ours or file.read(len(self._head)) != self._head:
                return False
            while (size := file.read(4)) and len(size) == 4:
                length = int.from_bytes(size, "big")
                if length > _LONGEST:
                    break  # the length of a damaged row, for which read() would take memory
                try:
                    row = msgspec.msgpack.decode(file.read(length), type=_Row)
                except UNREADABLE:
                    break  # the last row, cut off by a crash
                self._rows[row.path] = row
        return True
