"""Reading one file so that the copy is of one moment, or not at all.

A file is read between two looks at its size and times, the first one a clock tick after its last change. If they
differ it is read again; after the last retry the run fails and names it. Nothing torn is ever kept.
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

SMALL = 256 << 10  # below this, files are joined into segments
_BLOCK = 2 << 20
_AHEAD = 4 << 20  # of a file that is opened ahead; what lies behind, the kernel reads ahead of its reader
_TICK_NS = 20_000_000  # the kernel stamps files with a coarse clock: 1 to 10 ms
_PAUSE = 0.05  # seconds before the second try; doubles
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Holes = tuple[tuple[int, int], ...]


class Reading(msgspec.Struct, frozen=True):
    """What was read, and the file's facts that belong to it."""

    stat: os.stat_result
    xattrs: Xattrs
    content: Content
    holes: Holes = ()


def open_ahead(found: WalkedPath) -> None:
    """Open a file that is about to be read and let its disk begin, so that small files don't cost a disk's answer one
    after another. One that can't be opened is left to :func:`read_file`, which says why."""
    with contextlib.suppress(OSError):
        found.opened = open_quietly(found.name, _FILE, found.parent)
        os.posix_fadvise(found.opened, 0, min(found.stat.st_size, _AHEAD), os.POSIX_FADV_WILLNEED)


def read_file(found: WalkedPath, writer: PointWriter, watch: Watch, retries: int) -> Reading | None:
    """Read one regular file into the writer. None when it vanished or became something else.

    Raises :class:`SourceUnstable` when it kept changing and :class:`SourceUnreadable` when it can't be read.
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
        # What was read in vain is not content; its chunks stay in the vault unnamed.
        writer.done_bytes = done_bytes
    raise SourceUnstable(
        say("/{path} changed each of the {retries} times it was read", path=one_line(found.path), retries=retries + 1),
        where="/" + one_line(found.path),
    )


def _opened(found: WalkedPath) -> int:
    """A handle that is the caller's to close: the one opened ahead, the first time."""
    handle, found.opened = found.opened, -1
    return handle if handle >= 0 else open_quietly(found.name, _FILE, found.parent)


def _calm(handle: int) -> tuple[os.stat_result, bool]:
    """The file's facts, and whether its last change is older than a clock tick. A fresh one is given a tick's time:
    from then on every write leaves a later stamp than the one seen here."""
    stat = os.fstat(handle)
    if not _fresh(stat):
        return stat, True
    time.sleep(_TICK_NS / 1e9)
    stat = os.fstat(handle)
    return stat, not _fresh(stat)


def _fresh(stat: os.stat_result) -> bool:
    return 0 <= time.time_ns() - stat.st_ctime_ns < _TICK_NS


def _read(handle: int, stat: os.stat_result, writer: PointWriter, watch: Watch) -> Reading | None:
    """None when it moved under our eyes."""
    xattrs = read_xattrs(handle)
    if stat.st_size < SMALL:
        data = _whole(handle, stat.st_size)
        # Looked at before it joins a segment with its neighbours: torn bytes must not even get there.
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
    """The data between the holes. Less than expected when the file shrinks; its size tells afterwards."""
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
    """(offset, length) of a sparse file's holes; none when its blocks cover it."""
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
