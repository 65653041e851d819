"""Instants as numbers: exact to the microsecond in both directions, and never a guess about the zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from drbackup.system.instants import EPOCH, from_ns, from_ns_or_none, to_ns

INSTANTS = (
    datetime(2026, 11, 23, 12, 0, 0, 123_457, tzinfo=UTC),
    datetime(2038, 1, 19, 3, 14, 8, 999_999, tzinfo=UTC),
    datetime(1901, 12, 13, 20, 45, 51, 1, tzinfo=UTC),  # files may be older than the epoch
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
)


@pytest.mark.parametrize("instant", INSTANTS)
def test_every_microsecond_survives_the_way_there_and_back(instant: datetime) -> None:
    assert from_ns(to_ns(instant)) == instant


def test_no_float_is_between_so_neighbouring_microseconds_stay_apart() -> None:
    late = datetime(2026, 11, 23, 12, 0, 0, 999_999, tzinfo=UTC)
    numbers = [to_ns(late + timedelta(microseconds=each)) for each in range(100)]
    assert numbers == [numbers[0] + 1000 * each for each in range(100)]


def test_nanoseconds_below_a_microsecond_go_down_never_up() -> None:
    assert from_ns(1_999) == EPOCH + timedelta(microseconds=1)
    assert from_ns(-1) == EPOCH - timedelta(microseconds=1)


def test_the_zone_an_instant_is_written_in_changes_nothing() -> None:
    here = timezone(timedelta(hours=8))
    assert to_ns(datetime(2026, 11, 23, 20, tzinfo=here)) == to_ns(datetime(2026, 11, 23, 12, tzinfo=UTC))


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        to_ns(datetime(2026, 11, 23))  # noqa: DTZ001 — that is the point


def test_0_is_no_instant_where_a_field_may_have_none() -> None:
    assert from_ns_or_none(0) is None
    assert from_ns_or_none(1_000) == EPOCH + timedelta(microseconds=1)
