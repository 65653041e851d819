"""The measure of an agent's progress: the bytes that move show whether it is working or stuck.

Time is monotonic. A heartbeat is not movement, because a stuck agent can send those for ever. So small messages count
only when their sum is large enough; a finished question counts at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from drbackup.wire.framing import ByteReader, ByteWriter

COUNTS_AS_MOVEMENT = 16 << 10  # bytes; far more than the heartbeats of one stall timeout add up to


class Movement:
    """The instant of the last movement in a session. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._mutex = threading.Lock()
        self._last = clock()
        self._uncounted = 0
        self._busy = 0

    def mark(self) -> None:
        """Something moved just now."""
        with self._mutex:
            self._last = self._clock()
            self._uncounted = 0

    def count(self, size: int) -> None:
        """``size`` bytes went over the channel."""
        with self._mutex:
            self._uncounted += size
            if self._uncounted >= COUNTS_AS_MOVEMENT:
                self._last = self._clock()
                self._uncounted = 0

    def __enter__(self) -> Movement:
        """Inside the block the controller itself is working, for example with a slow store.

        The agent then waits for it and does not count as stuck.
        """
        with self._mutex:
            self._busy += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._mutex:
            self._busy -= 1
            self._last = self._clock()

    def still_for(self) -> float:
        """The seconds without movement. 0 while the agent waits for an answer of the controller."""
        with self._mutex:
            return 0.0 if self._busy else self._clock() - self._last


class CountedReader:
    """A reader that counts bytes as they arrive, so that a large frame on a slow line counts as movement."""

    def __init__(self, reader: ByteReader, movement: Movement) -> None:
        self._reader = reader
        self._movement = movement

    def read(self, size: int, /) -> bytes:
        data = self._reader.read(size)
        self._movement.count(len(data))
        return data


class MeteredWriter:
    """A writer that counts bytes as they are written, in pieces that are small enough for a slow line."""

    PIECE = 256 << 10  # bytes

    def __init__(self, writer: ByteWriter, movement: Movement) -> None:
        self._writer = writer
        self._movement = movement

    def write(self, data: bytes | memoryview, /) -> int:
        view = memoryview(data)
        for start in range(0, len(view), self.PIECE):
            piece = view[start : start + self.PIECE]
            self._writer.write(piece)
            self._movement.count(len(piece))
        return len(view)

    def flush(self) -> None:
        self._writer.flush()
