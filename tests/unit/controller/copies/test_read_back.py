"""Reading back at a rate: an average that holds, whoever reads."""

from __future__ import annotations

import pytest

from drbackup.controller.copies.read_back import RateLimit, read_back
from tests.support.doubles.memory_store import MemoryStore

OBJECTS, SIZE = 20, 100_000


class Clock:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += max(seconds, 1e-6)  # a real clock never stands still


@pytest.mark.parametrize("rate", [1000, 2_000_000])
def test_all_but_the_last_object_is_waited_for(rate: int) -> None:
    store, clock = MemoryStore(), Clock()
    for number in range(OBJECTS):
        store.put(f"v1/{number:02d}", bytes(SIZE))
    limit = RateLimit(rate, clock=clock, wait=clock.wait)
    assert sum(seen.size for seen in read_back(store, sorted(store.objects), limit, 1)) == OBJECTS * SIZE
    assert clock.now - 100.0 == pytest.approx((OBJECTS - 1) * SIZE / rate, abs=1e-3)


def test_without_a_rate_nobody_waits() -> None:
    clock = Clock()
    limit = RateLimit(clock=clock, wait=clock.wait)
    limit.spent(1 << 40)
    limit.turn()
    assert clock.now == 100.0
