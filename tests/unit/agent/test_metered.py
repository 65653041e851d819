"""The shares of a restore's time add up to the time it took, and go to who spent it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drbackup_agent.metered import MeteredFetch, Meters


class Clock:
    """Moves only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_shares_are_never_negative_and_add_up(fetching: float, reading: float, wall: float) -> None:
    meters = Meters(lambda _done: None)
    meters.fetching, meters.reading = fetching, reading
    shares = meters.shares(wall)
    assert min(shares) >= 0
    assert sum(shares) == pytest.approx(wall)


def test_time_goes_to_whoever_spent_it() -> None:
    clock = Clock()
    told: list[int] = []
    meters = Meters(told.append, clock)

    class Slow:
        def fetch(self, kind: str, domain: str, pack: bytes, offset: int, length: int) -> bytes:
            clock.now += 5
            return b"x" * length

    fetch = MeteredFetch(Slow(), meters, clock)

    def pieces() -> Iterator[bytes]:
        for _ in range(2):
            data = fetch.fetch("p", "d", b"", 0, 10)
            clock.now += 2  # opening
            yield data

    for _ in meters.timed(pieces()):
        clock.now += 1  # writing
    assert meters.shares(clock.now) == (10, 4, 2)
    assert told == [10, 20]
