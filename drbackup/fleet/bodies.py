"""Memory for the packs that come through the controller.

A pack that is received into fresh memory, joined, and copied once more for the disk costs more processor time than
hashing it: most of it is the kernel handing out pages. Here it comes into pages that were used before, aligned as a
folder store's direct writes want them.
"""

from __future__ import annotations

import mmap
import threading

from drbackup.system.memory import huge_buffer
from drbackup.vault.pack import BUFFER_SIZE

_KEPT = 4  # blocks that wait to be used again


class Bodies:
    """One session's blocks: :class:`drbackup.wire.framing.BodyMemory`. Thread-safe."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._spare: list[mmap.mmap] = []

    def take(self, size: int, /) -> memoryview:
        """``size`` bytes of page-aligned memory with anything in them. Pages never touched cost nothing, whatever a
        header claims."""
        with self._mutex:
            block = self._spare.pop() if self._spare and size <= BUFFER_SIZE else None
        return memoryview(block or huge_buffer(max(size, BUFFER_SIZE)))[:size]

    def give_back(self, body: bytes | memoryview) -> None:
        """A body from :meth:`take` that nobody looks at any more: the next one will be written over it."""
        block = body.obj if isinstance(body, memoryview) else None
        with self._mutex:
            if isinstance(block, mmap.mmap) and len(block) == BUFFER_SIZE and len(self._spare) < _KEPT:
                self._spare.append(block)
