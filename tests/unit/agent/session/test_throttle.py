"""The token bucket: an average that holds, whatever the sizes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drbackup_agent.session.throttle import TokenBucket


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
