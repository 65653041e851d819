"""A token bucket on the monotonic clock: how many bytes a second may pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class TokenBucket:
    """Holds callers back so that on average at most ``rate`` bytes a second pass; 0 means no limit. Thread-safe.

    A request larger than the bucket is let through and paid for by those after it, so a pack of any size passes.
    ``wait`` is called with seconds; give an event's ``wait`` to be woken by a cancellation.
    """

    def __init__(
        self,
        rate: int,
        *,
        burst_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self.rate = max(rate, 0)
        self._burst = self.rate * burst_seconds
        self._level = self._burst
        self._clock = clock
        self._wait = wait
        self._at = clock()
        self._mutex = threading.Lock()

    def take(self, size: int) -> None:
        """Return when ``size`` bytes may pass."""
        if size > 0 and (pause := self.spend(size)) > 0:
            self._wait(pause)

    def spend(self, size: int) -> float:
        """Let ``size`` bytes pass now; the seconds until they are paid for, 0 when they are."""
        if not self.rate:
            return 0.0
        with self._mutex:
            now = self._clock()
            self._level = min(self._burst, self._level + (now - self._at) * self.rate) - size
            self._at = now
            return max(-self._level / self.rate, 0.0)

    def owed(self) -> float:
        """The seconds until all that passed is paid for."""
        return self.spend(0)
