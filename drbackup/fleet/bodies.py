"""Memory for the packs that pass through the controller.

To receive a pack into fresh memory, join it and copy it for the disk takes more processor time than to hash it. Most of
that time the kernel needs to provide pages. Here packs are received into pages that were used before. These are aligned
as the direct writes of a folder store need it.
"""

from __future__ import annotations

import mmap
import threading

from drbackup.system.memory import huge_buffer
from drbackup.vault.pack import BUFFER_SIZE

_KEPT = 4  # free blocks, at most, that are kept to be used again


class Bodies:
    """The memory blocks of one session, a :class:`drbackup.wire.framing.BodyMemory`. Thread-safe."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._spare: list[mmap.mmap] = []

    def take(self, size: int, /) -> memoryview:
        """Page-aligned memory of ``size`` bytes with undefined content.

        Pages that are never written take no memory, so a header with a false size costs nothing.
        """
        with self._mutex:
            block = self._spare.pop() if self._spare and size <= BUFFER_SIZE else None
        return memoryview(block or huge_buffer(max(size, BUFFER_SIZE)))[:size]

    def give_back(self, body: bytes | memoryview) -> None:
        """A body from :meth:`take` may be reused. Its bytes must not be read any more: they will be overwritten."""
        block = body.obj if isinstance(body, memoryview) else None
        with self._mutex:
            if isinstance(block, mmap.mmap) and len(block) == BUFFER_SIZE and len(self._spare) < _KEPT:
                self._spare.append(block)
