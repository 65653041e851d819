"""How long an operation on a store may take: retries with growing waits, all within one limit."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from drbackup.errors import DrbackupError, say

Result = TypeVar("Result")


class TryAgain(Exception):
    """The failure of one attempt that may succeed later; ``error`` is what to raise when no time is left."""

    def __init__(self, error: DrbackupError) -> None:
        super().__init__(error.message)
        self.error = error


class RetryLimits(msgspec.Struct, frozen=True):
    """The time limits of one operation on a store."""

    total: float = 60.0  # seconds for the operation and all its retries; the time for its bytes at ``slowest`` is added
    connect: float = 10.0  # seconds to connect, and to send one block
    stall: float = 30.0  # seconds without an answer, or without its next bytes
    slowest: int = 64 * 1024  # bytes per second
    first_wait: float = 0.2  # seconds before the first retry; each later wait is twice the one before
    longest_wait: float = 8.0  # seconds

    def run(
        self,
        attempt: Callable[[float], Result],
        size: int = 0,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
    ) -> Result:
        """The result of the first ``attempt(deadline)`` that succeeds. ``deadline`` is in seconds of ``clock``.

        ``size``: bytes to be moved, for which time is added. :class:`TryAgain` is retried while time is left, then its
        error is raised. Any other error is raised at once.
        """
        deadline = clock() + self.total + size / self.slowest
        next_wait, tries = self.first_wait, 0
        while True:
            tries += 1
            try:
                return attempt(deadline)
            except TryAgain as failed:
                # Half to all of the wait, at random: after an outage, many writers must not all retry at one moment.
                pause = next_wait * random.uniform(0.5, 1.0)
                if clock() + pause >= deadline:
                    tried = say("after {tries} try" if tries == 1 else "after {tries} tries", tries=tries)
                    raise failed.error.reword(say("{what} ({tried})", what=failed.error.said, tried=tried)) from failed
                wait(pause)
                next_wait = min(next_wait * 2, self.longest_wait)


DEFAULT_RETRY = RetryLimits()
