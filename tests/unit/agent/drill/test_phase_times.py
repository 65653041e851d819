"""The shares of a restore's time add up to the time it took, and go to who spent it."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drbackup.vault.keys import Keyring
from drbackup.vault.store_access import StoreFetch
from drbackup_agent.drill.phase_times import Meters, TimedFetch, TimedReader
from tests.support.cities.small_vault import SmallVault


class Clock:
    """Moves only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


seconds = st.floats(0, 1e6)


@given(seconds, seconds, seconds, seconds)
def test_shares_are_never_negative_and_add_up(fetching: float, opening: float, using: float, wall: float) -> None:
    meters = Meters(lambda _done: None)
    meters.fetched(fetching, 1)
    meters.spent(opening, using)
    shares = meters.shares(wall)
    assert min(shares) >= 0
    assert sum(shares) == pytest.approx(wall)


def test_time_goes_to_whoever_spent_it() -> None:
    clock = Clock()
    told: list[int] = []
    meters = Meters(told.append, clock)

    class Slow:
        stretch = 1 << 20

        def fetch(self, kind: str, domain: str, pack: bytes, offset: int, length: int) -> bytes:
            clock.now += 5
            return b"x" * length

    fetch = TimedFetch(Slow(), meters, clock)

    def pieces() -> Iterator[bytes]:
        for _ in range(2):
            data = fetch.fetch("p", "d", b"", 0, 10)
            meters.spent(2, 0)
            clock.now += 2
            yield data

    for _ in meters.used(pieces()):
        clock.now += 1  # writing
    assert meters.shares(clock.now) == (10, 4, 2)
    assert told == [10, 20]


def test_threads_that_overlap_share_the_time_that_passed() -> None:
    meters = Meters(lambda _done: None)
    meters.fetched(6.0, 1)
    meters.spent(opening=12.0, using=6.0)
    assert meters.shares(8.0) == (2, 4, 2)


@pytest.mark.parametrize("large", [False, True])
def test_every_way_of_reading_is_measured(large: bool) -> None:
    vault = SmallVault()
    data = random.Random(1).randbytes((20 << 20) if large else 300_000)
    root = vault.write({b"a": data}).root
    meters = Meters(lambda _done: None)
    reader = TimedReader(
        TimedFetch(StoreFetch(vault.store), meters), Keyring([vault.keys["drill"]]), vault.domain, root
    )
    reader.meters = meters
    (entry,) = reader.entries()
    meters.restart()
    assert b"".join(reader.content(entry)) == data
    alone = (meters.fetching, meters.opening, meters.using)
    assert min(alone) > 0
    with reader.read_ahead(lambda part, memory: None) as ahead:
        ahead.add(None, entry.extents)
        ahead.drain()
    assert all(now > before for now, before in zip((meters.fetching, meters.opening), alone, strict=False))
    assert meters.fetched_bytes >= 2 * len(data)
