"""Retries end in time, and with the fault that was met."""

from __future__ import annotations

import pytest

from drbackup.errors import ObjectMissing, StoreUnavailable
from drbackup.stores.retry import RetryLimits, TryAgain

SHORT = RetryLimits(total=0.3, first_wait=0.01, longest_wait=0.05)


class Clock:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def test_gives_up_after_the_total_and_says_how_often_it_tried() -> None:
    clock, tries = Clock(), []

    def attempt(_deadline: float) -> None:
        tries.append(1)
        raise TryAgain(StoreUnavailable("the store answers 503"))

    with pytest.raises(StoreUnavailable, match=r"503 \(after \d+ tries\)"):
        SHORT.run(attempt, clock=clock, wait=clock.wait)
    assert len(tries) > 3
    assert clock.now < 100.0 + SHORT.total


def test_succeeds_when_the_fault_passes() -> None:
    left = [1, 2, 3]

    def attempt(_deadline: float) -> str:
        if left.pop() and left:
            raise TryAgain(StoreUnavailable("not yet"))
        return "done"

    assert SHORT.run(attempt) == "done"


def test_does_not_retry_what_can_not_pass() -> None:
    tries = []

    def attempt(_deadline: float) -> None:
        tries.append(1)
        raise ObjectMissing("gone")

    with pytest.raises(ObjectMissing):
        SHORT.run(attempt)
    assert len(tries) == 1


def test_bytes_earn_time_at_the_slowest_rate_that_still_counts() -> None:
    patient = RetryLimits(total=1.0, slowest=100)
    clock = Clock()
    assert patient.run(lambda deadline: deadline, size=1000, clock=clock) == clock.now + 11.0
