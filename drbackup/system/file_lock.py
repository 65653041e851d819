"""Locks that the kernel keeps on a file, between processes of one host.

A file lock is held until it is released or its process ends, in whatever way: nothing stale is ever left to clear. The
file itself stays and says nothing by being there. Not to be confused with the two other locks: an object lock keeps an
object of a store from being removed, and a mutex orders the threads of one process.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self


class FileLock:
    """A file lock that is held. Leaving its ``with`` block releases it."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle = handle

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    def release(self, *, remove: bool = False) -> None:
        """The end of the hold; a second call does nothing. ``remove``: removes the file too, for names used once."""
        if self._handle < 0:
            return
        if remove:
            self.path.unlink(missing_ok=True)  # before it is released, so that it is never another holder's file
        handle, self._handle = self._handle, -1
        os.close(handle)

    def leave_note(self, text: str) -> None:
        """The lock's file says ``text`` afterwards: who holds it. Others get it by :func:`read_note`."""
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, text.encode(), 0)


def try_file_lock(path: Path) -> FileLock | None:
    """The lock of ``path``, made with mode 0600 if it is not there; None while another holds it. Raises OSError."""
    return _take(path, fcntl.LOCK_EX | fcntl.LOCK_NB)


def wait_for_file_lock(path: Path) -> FileLock:
    """The lock of ``path``, as soon as nobody else holds it; made if it is not there. Raises OSError."""
    lock = _take(path, fcntl.LOCK_EX)
    assert lock is not None, "only a lock that does not wait is given up"
    return lock


def read_note(path: Path) -> str:
    """The text that the holder wrote, without white space around it; empty when it wrote none."""
    try:
        return path.read_bytes()[:1000].decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""


def _take(path: Path, operation: int) -> FileLock | None:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, operation)
            if _is_named(handle, path):
                return FileLock(path, handle)
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its last holder removed the file meanwhile, so a lock on it excludes nobody


def _is_named(handle: int, path: Path) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(handle))
