"""How long a store is given: retries with growing waits inside one limit, and the slowest that still counts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from drbackup.errors import DrbackupError, say

Result = TypeVar("Result")


class TryAgain(Exception):
    """One attempt failed in a way that may pass; ``error`` is what to raise when no time is left."""

    def __init__(self, error: DrbackupError) -> None:
        super().__init__(error.message)
        self.error = error


class RetryLimits(msgspec.Struct, frozen=True):
    """Limits of one operation on a store. Seconds; ``slowest`` in bytes per second.

    ``total`` bounds the operation with all its retries, plus the time its bytes take at ``slowest``. ``connect`` bounds
    one connection (and the sending of one block), ``stall`` the silence while waiting for an answer or its next bytes.
    """

    total: float = 60.0
    connect: float = 10.0
    stall: float = 30.0
    slowest: int = 64 * 1024
    first_wait: float = 0.2
    longest_wait: float = 8.0

    def run(
        self,
        attempt: Callable[[float], Result],
        size: int = 0,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
    ) -> Result:
        """``attempt(deadline)`` until it succeeds; ``deadline`` is on ``clock``, in seconds.

        :class:`TryAgain` is retried while time is left, then its error is raised; any other error is raised at once.
        """
        deadline = clock() + self.total + size / self.slowest
        next_wait, tries = self.first_wait, 0
        while True:
            tries += 1
            try:
                return attempt(deadline)
            except TryAgain as failed:
                # Half to all of the wait, by chance: many writers met by one outage must not come back in step.
                pause = next_wait * random.uniform(0.5, 1.0)
                if clock() + pause >= deadline:
                    tried = say("after {tries} try" if tries == 1 else "after {tries} tries", tries=tries)
                    raise failed.error.reword(say("{what} ({tried})", what=failed.error.said, tried=tried)) from failed
                wait(pause)
                next_wait = min(next_wait * 2, self.longest_wait)


DEFAULT_RETRY = RetryLimits()
