"""After the first months a day costs what the day before cost, however long the vault has lived."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.longlife.city import LongCity
from tests.longlife.life import Day, growth, live

DAYS = 200
FLAT = 1.1  # the last quarter by the one before: counts wander with retention, growth would show


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LongCity]:
    folder = tmp_path_factory.mktemp("long") / "city"
    made = LongCity(folder, files=150, churn=0.06, keep="daily: 5, weekly: 2, monthly: 1")
    yield made
    made.close()


@pytest.fixture(scope="module")
def days(city: LongCity) -> list[Day]:
    return live(city, DAYS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("requests of a backup", lambda day: day.requests),
        ("bytes a backup stores", lambda day: day.written),
        ("SQL steps of a backup", lambda day: day.steps),
        ("SQL steps of points list", lambda day: day.list_steps),
        ("requests of a collect", lambda day: day.collect_requests),
        ("SQL steps of a collect", lambda day: day.collect_steps),
        ("packs a point names", lambda day: day.packs_in_point),
        ("bytes stored", lambda day: day.stored),
        ("objects stored", lambda day: day.objects),
        ("chunks in the catalog", lambda day: day.chunks),
    ],
)
def test_a_day_costs_no_more_than_the_days_before(name: str, value: Callable[[Day], float], days: list[Day]) -> None:
    assert growth(days, value) < FLAT, name


def test_the_catalog_grows_by_the_days_runs_alone(days: list[Day]) -> None:
    """Runs are kept for ever; nothing else grows."""
    a_day = (days[-1].catalog - days[DAYS // 2].catalog) / (DAYS - DAYS // 2)
    assert a_day < 4096


def test_what_is_stored_is_bounded_by_what_the_points_hold(city: LongCity, days: list[Day]) -> None:
    assert days[-1].stored < 4 * city.needed


def test_every_point_kept_restores_byte_for_byte(city: LongCity, days: list[Day]) -> None:
    kept = city.points()
    assert {point.id for point in kept} == set(city.history)
    assert 5 <= len(kept) <= 5 + 2 + 1 + 7
    for point in kept:
        city.require_whole(point)
