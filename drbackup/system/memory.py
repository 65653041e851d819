"""Keeping the process's memory instead of giving it back to the kernel after every large block.

The C library hands blocks beyond 128 KiB straight to the kernel and back. Compressing, sealing and reading in pieces of
a megabyte then spend more time on page faults than on work: measured with glibc 2.36, zstd ran through incompressible
megabytes at 0.46 GB/s instead of 6.2, and a first backup took a fifth less processor time with the settings here.
"""

from __future__ import annotations

import ctypes
import gc
import mmap

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # mallopt(3)
_KEPT_BELOW = 64 << 20  # blocks up to here stay with us: chunks, windows, the packs a controller passes on
_TRIM_BEYOND = 128 << 20
_ARENAS = 2  # each thread's own arena would keep its own free memory


def keep_freed_memory() -> None:
    """Tell the C library to keep freed blocks for the next use. Call once, before threads are started.

    Not being able to (another C library) costs speed only."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for parameter, value in ((_MMAP_THRESHOLD, _KEPT_BELOW), (_TRIM_THRESHOLD, _TRIM_BEYOND), (_ARENA_MAX, _ARENAS)):
        mallopt(parameter, value)


def relax_gc() -> None:
    """Let Python look for cycles of dead objects a hundred times less often. What a start-up imports never dies, and
    trees of entries hold no cycles: looking through them took a tenth of a short command's processor time. Call before
    the imports, and again when they are done."""
    gc.freeze()
    gc.set_threshold(70_000, 20, 20)


def end_uncollected() -> None:
    """Spare the interpreter's end the search for dead cycles among everything that was imported: a tenth of a second.
    Call when nothing is left to do but to exit."""
    gc.disable()
    gc.freeze()


def huge_buffer(size: int) -> mmap.mmap:
    """``size`` zero bytes outside the heap, taken from the kernel as they are touched, in huge pages where it can."""
    buffer = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        buffer.madvise(mmap.MADV_HUGEPAGE)
    return buffer
