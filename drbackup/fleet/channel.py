"""What every transport gives a session: two byte streams to one started agent, and a way to end it.

A channel carries exactly one agent process. It knows nothing of messages.
"""

from __future__ import annotations

import threading
from typing import Protocol

from drbackup.system.masking import masked
from drbackup.wire.framing import ByteReader, ByteWriter

STDERR_TAIL = 8192  # bytes of the agent's stderr that are kept


class Channel(Protocol):
    """Obligations of every transport:

    * ``reader.read`` and ``writer.write`` may be called from different threads, and both return or raise soon after
      :meth:`close` was called from a third: nobody is left hanging.
    * What the agent prints to stderr is drained at all times (a full pipe would stop it) and only its tail is kept.
    * :meth:`close` may be called twice, from any thread, and when the other side is dead.
    """

    host: str

    @property
    def reader(self) -> ByteReader: ...

    @property
    def writer(self) -> ByteWriter: ...

    def close(self, grace: float = 5.0) -> None:
        """Close the agent's stdin, give it ``grace`` seconds to end by itself, then end it and reap it."""
        ...

    def stderr_tail(self) -> str:
        """The last lines the agent printed to stderr, secrets masked."""
        ...

    def exit_status(self, wait: float = 0.0) -> int | None:
        """The agent's exit status after at most ``wait`` seconds; negative: ended by that signal; None: unknown."""
        ...


class StderrTail:
    """The bounded end of a byte stream; written by one thread, read by others."""

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
        """Decoded and masked; a first line that was cut is left out so that no half of a secret shows."""
        with self._mutex:
            kept = bytes(self._kept)
        if len(kept) >= self._limit:
            _, _, kept = kept.partition(b"\n")
        return masked(kept.decode("utf-8", "replace")).strip()
