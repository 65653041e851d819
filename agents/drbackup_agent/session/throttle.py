"""A token bucket on the monotonic clock: how many bytes a second may leave this host."""

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
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Return when ``size`` bytes may pass."""
        if not self.rate or size <= 0:
            return
        with self._lock:
            now = self._clock()
            self._level = min(self._burst, self._level + (now - self._at) * self.rate)
            self._at = now
            self._level -= size
            pause = -self._level / self.rate
        if pause > 0:
            self._wait(pause)
