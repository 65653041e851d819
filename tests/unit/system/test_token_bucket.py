"""The token bucket: an average that holds, whatever the sizes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drbackup.system.token_bucket import TokenBucket


class Clock:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.now = 100.0

    def wait(self, seconds: float) -> None:
        self.now += seconds


@given(st.lists(st.integers(0, 50_000), max_size=50), st.integers(1, 10_000))
def test_no_more_than_the_rate_and_one_burst_passes(sizes: list[int], rate: int) -> None:
    clock = Clock()
    bucket = TokenBucket(rate, clock=lambda: clock.now, wait=clock.wait)
    for size in sizes:
        bucket.take(size)
    assert sum(sizes) <= rate * (clock.now - 100.0) + rate + 1


def test_without_a_limit_nobody_waits() -> None:
    clock = Clock()
    TokenBucket(0, clock=lambda: clock.now, wait=clock.wait).take(1 << 40)
    assert clock.now == 100.0


@given(st.lists(st.integers(0, 50_000), max_size=50), st.integers(1, 10_000))
def test_who_pays_afterwards_and_waits_until_nothing_is_owed_keeps_the_rate_without_a_burst(
    sizes: list[int], rate: int
) -> None:
    clock = Clock()
    bucket = TokenBucket(rate, burst_seconds=0, clock=lambda: clock.now)
    for size in sizes:
        clock.wait(bucket.owed())
        bucket.spend(size)
    clock.wait(bucket.owed())
    assert sum(sizes) <= rate * (clock.now - 100.0) + 1
    assert bucket.owed() < 1e-6


def test_time_that_passed_unused_is_no_credit_beyond_the_burst() -> None:
    clock = Clock()
    bucket = TokenBucket(1000, burst_seconds=0, clock=lambda: clock.now)
    clock.wait(3600)
    assert bucket.spend(1000) == 1.0
