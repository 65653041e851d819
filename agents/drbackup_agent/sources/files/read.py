"""Reading one file so that the copy shows one instant, or there is no copy.

Size and times of a file are looked at before and after it is read. The first look is at least a clock tick after its
last change. If they differ, it is read again; after the last retry the run fails and names the file. A copy that is
half old and half new is never kept.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat as modes
import time
from collections.abc import Iterator

import msgspec

from drbackup.errors import SourceUnstable, say
from drbackup.system.console import one_line
from drbackup.vault.write.writer import Content, PointWriter
from drbackup_agent.sources.base import Watch
from drbackup_agent.sources.files.entries import Xattrs, read_xattrs
from drbackup_agent.sources.files.walk import WalkedPath, open_quietly, unreadable

SMALL = 256 << 10  # bytes; below this, files are joined into segments
_BLOCK = 2 << 20  # bytes
_AHEAD = 4 << 20  # bytes of a file that is opened ahead; the kernel itself reads ahead of the reader after that
_TICK_NS = 20_000_000  # the kernel stamps files with a coarse clock: 1 to 10 ms
_PAUSE = 0.05  # seconds before the second try; doubles
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Holes = tuple[tuple[int, int], ...]


class Reading(msgspec.Struct, frozen=True):
    """What was read of a file, and the file's facts of the same instant."""

    stat: os.stat_result
    xattrs: Xattrs
    content: Content  # without the holes
    holes: Holes = ()  # (offset, length) in bytes


def open_ahead(found: WalkedPath) -> None:
    """The file is open in ``found.opened`` and its disk has begun to read.

    So the disk reads several small files at once. For a file that can't be opened nothing happens: :func:`read_file`
    raises the reason.
    """
    with contextlib.suppress(OSError):
        found.opened = open_quietly(found.name, _FILE, found.parent)
        os.posix_fadvise(found.opened, 0, min(found.stat.st_size, _AHEAD), os.POSIX_FADV_WILLNEED)


def read_file(found: WalkedPath, writer: PointWriter, watch: Watch, retries: int) -> Reading | None:
    """One regular file, read into the writer; None when it vanished or became something else.

    Raises :class:`SourceUnstable` when it changed during every attempt, ``retries`` + 1 in all. Raises
    :class:`SourceUnreadable` when it can't be read.
    """
    for attempt in range(retries + 1):
        if attempt:
            time.sleep(min(_PAUSE * 2 ** (attempt - 1), 1.0))
            watch.check()
            watch.retry(one_line(found.path))
        try:
            handle = _opened(found)
        except OSError as bad:
            if bad.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
                return None
            raise unreadable(found.path, bad) from bad
        done_bytes = writer.done_bytes
        try:
            before, calm = _calm(handle)
            if not modes.S_ISREG(before.st_mode):
                return None
            reading = _read(handle, before, writer, watch) if calm else None
            if reading is not None:
                return reading
        except OSError as bad:
            raise unreadable(found.path, bad) from bad
        finally:
            os.close(handle)
        # A failed attempt is not content; no tree names the chunks that it left in the vault.
        writer.done_bytes = done_bytes
    raise SourceUnstable(
        say("/{path} changed each of the {retries} times it was read", path=one_line(found.path), retries=retries + 1),
        where="/" + one_line(found.path),
    )


def _opened(found: WalkedPath) -> int:
    """An open handle, which the caller closes. The first time it is the one opened ahead."""
    handle, found.opened = found.opened, -1
    return handle if handle >= 0 else open_quietly(found.name, _FILE, found.parent)


def _calm(handle: int) -> tuple[os.stat_result, bool]:
    """The file's facts, and whether its last change is older than a clock tick (20 ms).

    For a fresh change it waits one tick: every write after that leaves a later stamp than the one seen here.
    """
    stat = os.fstat(handle)
    if not _fresh(stat):
        return stat, True
    time.sleep(_TICK_NS / 1e9)
    stat = os.fstat(handle)
    return stat, not _fresh(stat)


def _fresh(stat: os.stat_result) -> bool:
    return 0 <= time.time_ns() - stat.st_ctime_ns < _TICK_NS


def _read(handle: int, stat: os.stat_result, writer: PointWriter, watch: Watch) -> Reading | None:
    """The file's content and facts; None when it changed while it was read."""
    xattrs = read_xattrs(handle)
    if stat.st_size < SMALL:
        data = _whole(handle, stat.st_size)
        # Checked before it is joined into a segment with other files: changed bytes must not get there.
        if len(data) != stat.st_size or _changed(stat, os.fstat(handle)):
            return None
        return Reading(stat, xattrs, writer.small(data))
    holes = find_holes(handle, stat)
    if not holes:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    reading = Reading(stat, xattrs, writer.stream(_blocks(handle, stat.st_size, holes, watch)), holes)
    return reading if _stood_still(reading, os.fstat(handle)) else None


def _whole(handle: int, size: int) -> bytes:
    """Up to one byte more than ``size``, so that a file that grew is noticed."""
    data = os.read(handle, size + 1)
    while 0 < len(data) < size and (more := os.read(handle, size + 1 - len(data))):
        data += more
    return data


def _stood_still(reading: Reading, after: os.stat_result) -> bool:
    hollow = sum([length for _, length in reading.holes]) if reading.holes else 0
    return reading.content.size + hollow == after.st_size and not _changed(reading.stat, after)


def _changed(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns, before.st_ctime_ns) != (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )


def _blocks(handle: int, size: int, holes: Holes, watch: Watch) -> Iterator[bytes]:
    """The data between the holes, less of it when the file shrinks. The caller compares the sizes afterwards."""
    at = 0
    for offset, length in (*holes, (size, 0)):
        while at < offset:
            watch.check()
            block = os.pread(handle, min(_BLOCK, offset - at), at)
            if not block:
                return
            at += len(block)
            yield block
        at = offset + length


def find_holes(handle: int, stat: os.stat_result) -> Holes:
    """The (offset, length) pairs of a sparse file's holes, in bytes; none when its blocks cover its size."""
    if stat.st_blocks * 512 >= stat.st_size:
        return ()
    holes = []
    at = 0
    while at < stat.st_size:
        try:
            data = os.lseek(handle, at, os.SEEK_DATA)
        except OSError as bad:
            if bad.errno != errno.ENXIO:
                raise
            data = stat.st_size  # nothing but a hole up to the end
        data = min(data, stat.st_size)
        if data > at:
            holes.append((at, data - at))
        if data == stat.st_size:
            break
        at = os.lseek(handle, data, os.SEEK_HOLE)
    return tuple(holes)
