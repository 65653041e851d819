"""Times, ages and sizes read the same everywhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from drbackup.reports import figures

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (1.5, "1.5 s"),
        (45, "45 s"),
        (119, "119 s"),
        (120, "2 min"),
        (3600, "1 h"),
        (5400, "90 min"),
        (7200, "2 h"),
        (12000, "3 h 20 min"),
        (40000, "11 h"),
        (432000, "5 d"),
        (-60, "-60 s"),
    ],
)
def test_a_span_has_at_most_two_units(seconds: float, text: str) -> None:
    assert figures.span(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("gone", "text"),
    [(timedelta(0), "just now"), (timedelta(minutes=12), "12 min ago"), (timedelta(hours=-3), "in 3 h")],
)
def test_an_age_says_when_it_lies_in_the_future(gone: timedelta, text: str) -> None:
    assert figures.age(NOW - gone, NOW) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB")])
def test_sizes_are_in_binary_units(count: int, text: str) -> None:
    assert figures.size(count) == text


def test_people_read_the_inventorys_zone_and_scripts_read_utc() -> None:
    assert figures.local(NOW, ZoneInfo("Asia/Shanghai")) == "2026-11-23 12:00:00"
    assert figures.iso(NOW.astimezone(ZoneInfo("Asia/Shanghai"))) == "2026-11-23T04:00:00.000Z"
