"""Living many days and measuring each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from tests.longlife.city import LongCity

COLLECT_EVERY = 7  # days
NEEDED_EVERY = 10  # days: it is looked at in every version of every file


@dataclass(frozen=True, slots=True)
class Day:
    """What one day's backup took, and what there was after it. Bytes, rows, SQL steps in tens, CPU seconds."""

    requests: int
    written: int
    read: int
    steps: int
    list_steps: int
    collect_steps: int
    collect_requests: int
    cpu: float
    points: int
    packs_in_point: int
    stored: int
    needed: int
    objects: int
    catalog: int
    chunks: int
    packs: int


def live(city: LongCity, days: int, watch: Callable[[int], None] = lambda _day: None) -> list[Day]:
    """A backup a day, a collect a week."""
    lived: list[Day] = []
    for number in range(days):
        if number:
            city.live_a_day()
        before, began = city.tally.copy(), time.process_time()
        point = city.back_up()
        cpu = time.process_time() - began
        took = city.tally.since(before)
        before = city.tally.copy()
        if number % COLLECT_EVERY == COLLECT_EVERY - 1:
            city.collect()
        collecting = city.tally.since(before)
        before = city.tally.copy()
        known = city.points()
        listing = city.tally.since(before)
        counted = city.counted
        lived.append(
            Day(
                took.requests,
                took.written,
                took.read,
                took.steps,
                listing.steps,
                collecting.steps,
                collecting.requests,
                cpu,
                len(known),
                city.packs_in(point),
                city.store.size,
                city.needed if number % NEEDED_EVERY == 0 else lived[-1].needed,
                len(city.store.objects),
                counted.bytes(),
                counted.rows("chunks"),
                counted.rows("packs"),
            )
        )
        watch(number)
    return lived


def growth(days: Sequence[Day], value: Callable[[Day], float]) -> float:
    """The last quarter's mean by that of the quarter before: 1.0 is flat."""
    quarter = len(days) // 4
    late, before = days[-quarter:], days[-2 * quarter : -quarter]
    return mean(map(value, late)) / max(mean(map(value, before)), 1e-9)
