"""The channel that every transport gives a session: two byte streams to one started agent, and a way to end it.

A channel belongs to exactly one agent process. It knows nothing of messages.
"""

from __future__ import annotations

import threading
from typing import Protocol

from drbackup.system.masking import masked
from drbackup.wire.framing import ByteReader, ByteWriter

STDERR_TAIL = 8192  # bytes of the agent's stderr that are kept


class Channel(Protocol):
    """The obligations of every transport:

    * ``reader.read`` and ``writer.write`` may be called from different threads. Both return or raise soon after
      :meth:`close` was called from a third: no thread waits for ever.
    * The agent's stderr is read at all times, because a full pipe would stop the agent. Only its tail is kept.
    * :meth:`close` may be called twice, from any thread, and when the other side is dead.
    """

    host: str  # the agent's name, for messages

    @property
    def reader(self) -> ByteReader: ...

    @property
    def writer(self) -> ByteWriter: ...

    def close(self, grace: float = 5.0) -> None:
        """The agent has ended and is reaped. Its stdin is closed; after ``grace`` seconds it is killed."""
        ...

    def stderr_tail(self) -> str:
        """The last lines of the agent's stderr, with secrets masked."""
        ...

    def exit_status(self, wait: float = 0.0) -> int | None:
        """The agent's exit status, after at most ``wait`` seconds. None: unknown.

        A negative status is the signal that ended it.
        """
        ...


class StderrTail:
    """The last bytes of a byte stream, at most ``limit``. One thread writes it, others read it."""

    def __init__(self, limit: int = STDERR_TAIL) -> None:
        self._limit = limit
        self._mutex = threading.Lock()
        self._kept = bytearray()

    def add(self, data: bytes) -> None:
        with self._mutex:
            self._kept += data
            if len(self._kept) > self._limit:
                del self._kept[: len(self._kept) - self._limit]

    def text(self) -> str:
        """The text, with secrets masked. A first line that was cut is left out, as it may show half a secret."""
        with self._mutex:
            kept = bytes(self._kept)
        if len(kept) >= self._limit:
            _, _, kept = kept.partition(b"\n")
        return masked(kept.decode("utf-8", "replace")).strip()
