"""Durable writes: after a kill or a power cut a name gives back its old bytes or its new ones, whole, never a part.

In this order: the bytes are on the disk under a hidden name, one step gives them their own name, the folder is on the
disk. Once a function has returned, nothing takes the new bytes back.

Files of moderate size only: all bytes are in memory. Three others write by the same rules with code of their own:

- a folder store (``stores/folder``) writes packs past the page cache;
- the installer (``fleet/installer``) runs on a host that has no module of ours;
- a restore (``sources/files``) syncs its whole target once, at its end.

A kill in between can leave a hidden file ``.<name>.<random>.new``, which nothing reads.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PRIVATE = 0o600
_RENAME_NOREPLACE = 1
NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}  # errors of a filesystem without hard links


def write_file(path: Path, data: bytes, *, mode: int = _PRIVATE, hidden_name: str = "") -> None:
    """``path`` holds exactly ``data`` with exactly ``mode``, durably; what was there before is replaced.

    ``hidden_name``: the name of the unfinished file, for folders that are not ours. Repeated kills then leave one such
    file at the most, and the caller must be the only writer. Raises OSError, and then ``path`` has its old bytes or the
    new ones.
    """
    with _opened(path.parent) as folder:
        if hidden_name:
            with contextlib.suppress(FileNotFoundError):  # left by a kill
                os.unlink(hidden_name, dir_fd=folder)
        fresh = hidden_name or _hidden(path.name)
        _write_new(folder, fresh, data, mode)
        try:
            os.replace(fresh, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(fresh, dir_fd=folder)
            raise
        os.fsync(folder)


def create_file(path: Path, data: bytes, *, mode: int = _PRIVATE) -> None:
    """The new file ``path`` holds exactly ``data``, durably. Raises FileExistsError: nothing is ever replaced."""
    with _opened(path.parent) as folder:
        fresh = _hidden(path.name)
        _write_new(folder, fresh, data, mode)
        try:
            link_new(fresh, path.name, folder)
        finally:
            with contextlib.suppress(FileNotFoundError):  # gone when the name was taken by renaming
                os.unlink(fresh, dir_fd=folder)
        os.fsync(folder)


def create_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """The new ``folder`` (mode 0700) holds these files (mode 0600), durably: all of them appear at once, or none.

    Raises OSError for a folder that is there and not empty: nothing is ever replaced.
    """
    fresh = folder.with_name(_hidden(folder.name))
    fresh.mkdir(mode=0o700)
    try:
        with _opened(fresh) as inside:
            for name, data in files.items():
                _write_new(inside, name, data, _PRIVATE)
            os.fsync(inside)
        fresh.rename(folder)  # fails on a folder with anything in it
    except BaseException:
        import shutil  # with its archives it is slow to import, and an agent needs it for nothing else

        shutil.rmtree(fresh)
        raise
    sync_folder(folder.parent)


def put_in_place(finished: Path, path: Path) -> None:
    """The file ``finished`` has the name ``path`` afterwards, durably; a file that had that name is replaced.

    Both are in one filesystem. The bytes must be on the disk already: whoever wrote them has synced them. Raises
    OSError.
    """
    finished.replace(path)
    sync_folder(path.parent)


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """``folder`` and the folders above it exist, durably. ``mode``: of those that had to be made. Raises OSError."""
    missing = [each for each in (folder, *folder.parents) if not each.is_dir()]
    for each in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another process made it a moment ago
            each.mkdir(mode)
        sync_folder(each.parent)
    if not missing:
        sync_folder(folder.parent)  # its maker may have died before its own sync


def sync_folder(folder: Path) -> None:
    """The names inside ``folder`` are durable as they are now. Raises OSError."""
    with _opened(folder) as handle:
        os.fsync(handle)


def write_all(file: int, data: bytes | memoryview) -> None:
    """All bytes of ``data`` are written at the file's position. ``file``: an open descriptor. Raises OSError."""
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[os.write(file, rest) :]


def link_new(finished: str, name: str, folder: int) -> None:
    """The finished file has ``name``, atomically and only if that is free. Raises FileExistsError otherwise.

    ``folder``: descriptor of the open folder that both are in. A hard link is made where the filesystem has them.
    Elsewhere it is a rename that replaces nothing, and then the name ``finished`` is gone.
    """
    try:
        os.link(finished, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as fault:
        if fault.errno not in NO_LINKS:
            raise
        rename_new(finished, name, folder)


def rename_new(old: str, new: str, folder: int) -> None:
    """A rename inside one open folder that replaces nothing (renameat2 with RENAME_NOREPLACE).

    Raises FileExistsError when the new name is taken, and OSError where the filesystem can't do it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(folder, os.fsencode(old), folder, os.fsencode(new), _RENAME_NOREPLACE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), new)


def _write_new(folder: int, name: str, data: bytes, mode: int) -> None:
    """A new file of the open folder, its bytes on the disk. No file at all when that fails."""
    file = os.open(name, _NEW_FILE, _PRIVATE, dir_fd=folder)
    try:
        write_all(file, data)
        if mode != _PRIVATE:  # a stick with FAT knows no modes and refuses to set them
            os.fchmod(file, mode)
        os.fsync(file)
    except BaseException:
        os.unlink(name, dir_fd=folder)
        raise
    finally:
        os.close(file)


def _hidden(name: str) -> str:
    """A name that no second writer has, so that two at once never write into one file."""
    return f".{name}.{os.urandom(8).hex()}.new"


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)
