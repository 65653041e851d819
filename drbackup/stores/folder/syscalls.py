"""The few system calls that a folder store is made of, and what their errors mean to an operator."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import mmap
import os
import threading
from collections.abc import Iterator

from drbackup.errors import DrbackupError, ObjectExists, StoreFull, StoreRefused, StoreUnavailable, say
from drbackup.stores.base import past_the_end
from drbackup.system.durable import NO_LINKS, rename_new, write_all

_PIECE = 1 << 20  # bytes read or compared at a time
_WORTH_IT = 1 << 20  # bytes of a file from which on direct reads and writes are faster
_DIRECT_PIECE = (4 << 20) + (64 << 10)  # bytes; a reader's usual range fits into one, wherever it begins
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


_memory = threading.local()


def store_error(fault: OSError, store: str, name: str) -> DrbackupError:
    """The error class for a failed system call on object ``name`` of ``store``."""
    text = say("store {store}, {name}: {why}", store=store, name=name, why=fault.strerror or fault)
    if fault.errno in _NO_ROOM:
        return StoreFull(text, where=name)
    if fault.errno in _NOT_ALLOWED:
        return StoreRefused(
            text, where=name, hint="check the folder's owner and mode, and that its filesystem is mounted writable"
        )
    if fault.errno in (errno.ELOOP, errno.ENOTDIR):
        return StoreRefused(
            say(
                "store {store}, {name}: a symbolic link stands in its path, and none is followed",
                store=store,
                name=name,
            ),
            where=name,
            hint="somebody put the link there: look at the store's folder by hand",
        )
    if fault.errno == errno.EISDIR:
        return ObjectExists(
            say("store {store}: {name} is a folder of other objects", store=store, name=name), where=name
        )
    # EIO, ESTALE, ENODEV, ENOTCONN …: the disk or the mount behind the folder is failing.
    return StoreUnavailable(text, where=name, hint="check the disk or mount behind the store (dmesg), then run again")


def write_beside_cache(file: int, temporary: str, folder: int, data: bytes | memoryview) -> None:
    """A new file with every byte of ``data``, written past the system's page cache as far as whole pages go.

    A pack is written once and read months later. In the cache it would only take memory from everything else on the
    host. Where the filesystem does not do direct writes (O_DIRECT), or stops doing them, the cache is used. The file is
    not synced here. Raises OSError.
    """
    view = memoryview(data).cast("B")
    done = _write_direct(temporary, folder, view) if len(view) >= _WORTH_IT else 0
    os.lseek(file, done, os.SEEK_SET)
    write_all(file, view[done:])


def _write_direct(temporary: str, folder: int, view: memoryview) -> int:
    """The number of bytes written, from the beginning; 0 where direct writes are not possible."""
    try:
        file = os.open(temporary, os.O_WRONLY | os.O_DIRECT | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return 0
    done, whole = 0, len(view) - len(view) % mmap.PAGESIZE
    aligned = None if _on_a_page(view) else _aligned()
    try:
        while done < whole:
            piece = view[done : min(done + _DIRECT_PIECE, whole)]
            if aligned is not None:
                aligned[: len(piece)] = piece
                piece = aligned[: len(piece)]
            if os.write(file, piece) != len(piece):
                break  # a full disk, or a signal: the plain way says which
            done += len(piece)
    except OSError as fault:
        if fault.errno in _NO_ROOM:
            raise
    finally:
        os.close(file)
    return done


def _on_a_page(view: memoryview) -> bool:
    """Whether the memory begins on a page, so that direct writes take it as it is. ``bytes`` never do."""
    return not view.readonly and ctypes.addressof(ctypes.c_char.from_buffer(view)) % mmap.PAGESIZE == 0


def _aligned() -> memoryview:
    """Memory that begins on a page, as direct reads and writes need it. Each thread has one piece and keeps it."""
    if not hasattr(_memory, "view"):
        _memory.view = memoryview(mmap.mmap(-1, _DIRECT_PIECE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    view: memoryview = _memory.view
    return view


def read_range(file: int, offset: int, length: int | None, name: str) -> bytes:
    """Exactly ``length`` bytes at ``offset``; to the end when None.

    ``name`` is for messages. Raises ObjectCorrupt when the file is shorter, OSError of the disk.
    """
    size = os.fstat(file).st_size
    wanted = size - offset if length is None else length
    if offset < 0 or wanted < 0 or offset + wanted > size:
        raise past_the_end(name, size, offset, length)
    pieces = _read_direct(file, offset, wanted) if wanted >= _WORTH_IT else []
    done = sum(map(len, pieces))
    while done < wanted:
        piece = os.pread(file, wanted - done, offset + done)
        if not piece:
            raise past_the_end(name, offset + done, offset + done, wanted - done)
        pieces.append(piece)
        done += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def hash_whole(file: int) -> tuple[int, bytes]:
    """(size in bytes, SHA-256) of an open file, read from its beginning into one buffer.

    The bytes come from the disk itself where direct reads are possible: the page cache would prove nothing about the
    disk. Raises OSError.
    """
    buffer, size, hasher = _aligned(), 0, hashlib.sha256()
    with _reopened(file) as direct:
        for source in (direct, file):
            while source >= 0 and (count := _read_into(source, buffer, size)):
                hasher.update(buffer[:count])
                size += count
                if source == direct and size % mmap.PAGESIZE:
                    break  # the end, or as far as direct reads go: the plain read finds out which
    return size, hasher.digest()


def _read_direct(file: int, offset: int, wanted: int) -> list[bytes]:
    """Pieces from ``offset`` on, read past the page cache, because a pack is read once.

    They are fewer bytes than ``wanted``, or none, where direct reads are not possible.
    """
    pieces: list[bytes] = []
    buffer = _aligned()
    with _reopened(file) as direct:
        while wanted and direct >= 0:
            skip = offset % mmap.PAGESIZE
            pages = -(-(skip + wanted) // mmap.PAGESIZE) * mmap.PAGESIZE
            count = _read_into(direct, buffer[:pages], offset - skip)
            piece = bytes(buffer[skip : min(count, skip + wanted)])
            if not piece:
                break
            pieces.append(piece)
            offset, wanted = offset + len(piece), wanted - len(piece)
    return pieces


@contextlib.contextmanager
def _reopened(file: int) -> Iterator[int]:
    """The same file for direct reads; −1 where the filesystem has none."""
    try:
        direct = os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        yield -1
        return
    try:
        yield direct
    finally:
        os.close(direct)


def _read_into(file: int, buffer: memoryview, offset: int) -> int:
    """The number of bytes read; 0 also for a direct read that the filesystem refuses. A disk's own error is raised."""
    try:
        return os.preadv(file, [buffer], offset)
    except OSError as fault:
        if fault.errno != errno.EINVAL:
            raise
        return 0


def same_bytes(file: int, data: bytes | memoryview) -> bool:
    """Whether the open file holds exactly ``data``. Raises OSError."""
    view = memoryview(data).cast("B")
    if os.fstat(file).st_size != len(view):
        return False
    for offset in range(0, len(view), _PIECE):
        expected = view[offset : offset + _PIECE]
        if os.pread(file, len(expected), offset) != expected:
            return False
    return True


def set_aside(leaf: str, hidden: str, folder: int) -> None:
    """A second, durable name ``hidden`` for the file ``leaf``. Nothing happens when there is no such file.

    On a filesystem without hard links the file is renamed: until the caller gives ``leaf`` anew, no file has that name.
    Raises OSError.
    """
    try:
        os.link(leaf, hidden, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    except OSError as fault:
        if fault.errno not in NO_LINKS:
            raise
        rename_new(leaf, hidden, folder)
    os.fsync(folder)
