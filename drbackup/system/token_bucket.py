"""A token bucket on the monotonic clock: how many bytes a second may pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class TokenBucket:
    """A limit of ``rate`` bytes a second on average, for all callers together; 0 means no limit. Thread-safe.

    ``burst_seconds``: how much may pass at once after a pause. A request of any size passes; those after it then wait
    longer. ``clock`` and ``wait`` count in seconds. With an event's ``wait`` a cancellation ends the waiting.
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
        """The right to pass ``size`` bytes, once this has returned: it waits as long as the limit demands."""
        if size > 0 and (pause := self.spend(size)) > 0:
            self._wait(pause)

    def spend(self, size: int) -> float:
        """The seconds that the caller must wait after ``size`` bytes pass now; 0 within the limit. Does not wait."""
        if not self.rate:
            return 0.0
        with self._mutex:
            now = self._clock()
            self._level = min(self._burst, self._level + (now - self._at) * self.rate) - size
            self._at = now
            return max(-self._level / self.rate, 0.0)

    def owed(self) -> float:
        """The seconds until all that has passed is within the limit again."""
        return self.spend(0)
