"""One file that is made inside a folder of a restore's target, and the errors that the filesystem may give for it."""

from __future__ import annotations

import errno
import os
import stat as modes
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from blake3 import blake3

from drbackup.errors import DrbackupError, HostUnsuitable, TargetFull, TargetOccupied, say
from drbackup.system.console import one_line
from drbackup.vault.tree import Entry

NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
PARTIAL = b".drbackup-part-"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(slots=True)
class OpenFolder:
    """An open folder of the target."""

    name: bytes
    path: bytes  # below the target
    handle: int
    entry: Entry | None = None  # None: the folder keeps its own facts
    inherits: bool = False  # whether a default ACL applies to what is made in it
    slots: int = 0  # files in it that are still written
    left: bool = False  # whether the walk has gone on to another folder


class Slot:
    """The place of one file. Its methods may be called from any thread, one at a time."""

    __slots__ = ("_folder", "_give_back", "_partial", "level", "name", "path")

    def __init__(self, level: OpenFolder, path: bytes, folder: str, give_back: Callable[[Slot], None]) -> None:
        """``folder``: the target, for messages. ``give_back`` is called once the file has its name."""
        name = path.rpartition(b"/")[2]
        self._folder = folder
        self._give_back = give_back
        self.level = level
        self.name = name
        self.path = path
        self._partial = partial_name(name)

    def create(self, mode: int) -> int:
        """A handle to a new file under the temporary name, which the caller closes. Raises as :meth:`error` says."""
        try:
            try:
                return os.open(self._partial, NEW_FILE, mode, dir_fd=self.level.handle)
            except FileExistsError:  # left by an attempt that crashed
                os.unlink(self._partial, dir_fd=self.level.handle)
                return os.open(self._partial, NEW_FILE, mode, dir_fd=self.level.handle)
        except OSError as bad:
            raise self.error(bad) from bad

    def open_direct(self) -> int:
        """A second handle to the unfinished file, past the page cache (O_DIRECT); −1 where that is impossible."""
        flags = os.O_WRONLY | os.O_DIRECT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self._partial, flags, dir_fd=self.level.handle)
        except OSError:
            return -1

    def place(self) -> None:
        """The finished file has its own name, and the slot is given back.

        Raises :class:`TargetOccupied` when a folder has that name, else as :meth:`error` says.
        """
        folder = self.level.handle
        try:
            os.rename(self._partial, self.name, src_dir_fd=folder, dst_dir_fd=folder)
        except IsADirectoryError as bad:
            raise TargetOccupied(
                say("{where} is a folder", where=self.where), hint="move it away: folders are never removed"
            ) from bad
        except OSError as bad:
            raise self.error(bad) from bad
        self._give_back(self)

    def forget(self) -> None:
        """The unfinished file is gone. The slot is not given back, because the restore ends after that."""
        forget(self.level.handle, self._partial)

    @property
    def where(self) -> str:
        """The file's full path as printable text, for messages."""
        return os.path.join(self._folder, one_line(self.path))

    def error(self, bad: OSError) -> DrbackupError:
        """The error to raise for ``bad``, with this file's path: see :func:`target_error`."""
        return target_error(bad, self.where)


class PartialFile:
    """A file that is being written. An exception inside its ``with`` block removes it."""

    def __init__(self, folder: int, partial: bytes, handle: int, where: str) -> None:
        self._folder = folder
        self._partial = partial
        self._where = where
        self.handle = handle

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self.handle)
        if kind is not None:
            forget(self._folder, self._partial)

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """All of ``data`` is in the file at ``offset`` bytes. Raises as :func:`target_error` says."""
        left = memoryview(data)
        while left:
            try:
                done = os.pwrite(self.handle, left, offset)
            except OSError as bad:
                raise target_error(bad, self._where) from bad
            left, offset = left[done:], offset + done

    def resize(self, size: int) -> None:
        """The file is ``size`` bytes long, with a hole at its end if needed. Raises as :func:`target_error` says."""
        try:
            os.ftruncate(self.handle, size)
        except OSError as bad:
            raise target_error(bad, self._where) from bad


def partial_name(name: bytes) -> bytes:
    """The temporary name beside ``name``; the same on every attempt, so that a crash leaves at most one."""
    return PARTIAL + blake3(name).hexdigest(length=8).encode()


def target_error(bad: OSError, where: str) -> DrbackupError:
    """The error to raise for ``bad``: :class:`TargetFull` without room, else :class:`HostUnsuitable`."""
    if bad.errno in _FULL:
        return TargetFull(say("no room to restore {where}", where=where), where=where)
    return HostUnsuitable(
        say("{where}: {why}", where=where, why=bad.strerror),
        where=where,
        safe="what was at the target before is still there",
        hint="mend it and run the same command again",
    )


def is_folder(parent: int, name: bytes) -> bool:
    """Whether a name is a folder itself, not a symbolic link to one."""
    try:
        return modes.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def forget(parent: int, name: bytes) -> None:
    """The name is gone, whether or not it was there."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return
