"""Single dues written out by hand, on the days when clocks jump and after outages."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from drbackup.errors import PolicyError
from drbackup.model.policy import SchedulePolicy
from drbackup.model.schedule import due_after, dues, missed, pause_around, spread_offset, worst_gap
from drbackup.model.window import DateSpan


def schedule(**values: Any) -> SchedulePolicy:
    return SchedulePolicy.model_validate(values)


def next_local(made: SchedulePolicy, start: str, count: int) -> list[str]:
    zone = ZoneInfo(made.time_zone)
    begin = datetime.fromisoformat(start).replace(tzinfo=zone)
    return [due.astimezone(zone).isoformat() for due in itertools.islice(dues(made, "base", begin), count)]


def test_a_local_time_that_does_not_exist_runs_once_at_the_next_instant_that_does() -> None:
    made = schedule(cron="15,30 2 * * *", time_zone="America/New_York")
    assert next_local(made, "2027-03-13T12:00", 3) == [
        "2027-03-14T03:00:00-04:00",
        "2027-03-15T02:15:00-04:00",
        "2027-03-15T02:30:00-04:00",
    ]


def test_a_local_time_that_comes_twice_runs_once_the_first_time() -> None:
    made = schedule(cron="30 1 * * *", time_zone="America/New_York")
    assert next_local(made, "2027-11-06T12:00", 2) == ["2027-11-07T01:30:00-04:00", "2027-11-08T01:30:00-05:00"]


def test_a_day_that_never_was_is_passed_over() -> None:
    made = schedule(cron="0 12 * * *", time_zone="Pacific/Apia")  # 2011-12-30 was left out there
    assert next_local(made, "2011-12-29T12:00", 2) == ["2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"]


def test_a_window_past_midnight_belongs_to_the_day_it_opens_on() -> None:
    made = schedule(every="4h", window="fri 22:00-06:00", spread=False, time_zone="Asia/Shanghai")
    assert next_local(made, "2026-11-23T00:00", 3) == [
        "2026-11-27T22:00:00+08:00",
        "2026-11-28T02:00:00+08:00",
        "2026-12-04T22:00:00+08:00",
    ]


def test_a_due_in_a_blackout_waits_for_its_end_and_several_become_one() -> None:
    made = schedule(every="30m", spread=False, blackout="08:10-10:00", time_zone="Asia/Shanghai")
    assert next_local(made, "2026-11-23T07:59", 3) == [
        "2026-11-23T08:00:00+08:00",
        "2026-11-23T10:00:00+08:00",
        "2026-11-23T10:30:00+08:00",
    ]
    assert next_local(made, "2026-11-23T09:00", 1) == ["2026-11-23T10:00:00+08:00"]


def test_a_due_whose_window_closes_inside_the_blackout_is_left_out() -> None:
    made = schedule(every="1d", window="01:00-02:00", spread=False, blackout="2026-11-24", time_zone="Asia/Shanghai")
    assert next_local(made, "2026-11-23T12:00", 1) == ["2026-11-25T01:00:00+08:00"]


def test_two_systems_of_one_interval_do_not_start_together() -> None:
    offsets = {spread_offset(f"system-{number}", timedelta(hours=1)) for number in range(50)}
    assert len(offsets) > 45


def test_the_spread_of_a_system_never_changes_between_versions() -> None:
    assert spread_offset("enterprise-base", timedelta(minutes=30)) == timedelta(seconds=953)


def test_a_new_system_waits_for_its_first_due() -> None:
    made = schedule(every="1h", spread=False)
    now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    assert due_after(made, "base", None, now) == now
    assert due_after(made, "base", None, now + timedelta(seconds=1)) == now + timedelta(hours=1)


def test_after_an_outage_once_runs_the_newest_missed_due_and_skip_waits() -> None:
    last = datetime(2026, 11, 23, 12, tzinfo=UTC)
    now = last + timedelta(hours=3, minutes=20)
    once, skip = schedule(every="1h", spread=False), schedule(every="1h", spread=False, catch_up="skip")
    assert due_after(once, "base", last, now) == last + timedelta(hours=3)
    assert missed(once, "base", last, now) == (last + timedelta(hours=1), last + timedelta(hours=2))
    assert due_after(skip, "base", last, now) == last + timedelta(hours=4)
    assert len(missed(skip, "base", last, now)) == 3


def test_skip_still_runs_a_due_that_was_looked_at_a_little_late() -> None:
    last = datetime(2026, 11, 23, 12, tzinfo=UTC)
    made = schedule(every="1h", spread=False, catch_up="skip")
    now = last + timedelta(hours=1, seconds=30)
    assert due_after(made, "base", last, now) == last + timedelta(hours=1)
    assert missed(made, "base", last, now) == ()


@pytest.mark.parametrize(
    ("values", "gap"),
    [
        ({"every": "30m"}, timedelta(minutes=30)),
        ({"every": "1h", "window": "22:00-06:00", "spread": False}, timedelta(hours=17)),
        ({"every": "2d", "window": "22:00-06:00"}, timedelta(days=2)),
        ({"every": "1d", "window": "mon-fri 22:00-06:00"}, timedelta(days=3)),
        ({"cron": "0 8-18 * * mon-fri"}, timedelta(hours=62)),
        ({"cron": "0 0 1 * *"}, timedelta(days=31)),
        ({"cron": "0 0 29 2 *"}, timedelta(days=1461)),
        ({"every": "30m", "spread": False, "blackout": "08:10-10:00"}, timedelta(hours=2)),
    ],
)
def test_the_worst_gap_is_the_longest_wait_of_an_ordinary_year(values: dict[str, Any], gap: timedelta) -> None:
    assert worst_gap(schedule(**values), "base") == gap


def test_the_pause_around_a_blackout_by_date_counts_from_the_last_due_to_the_next() -> None:
    span = "2026-12-28..2026-12-29"
    made = schedule(every="6h", spread=False, blackout=span, time_zone="UTC")
    found = made.blackout[0]
    assert isinstance(found, DateSpan)
    assert pause_around(made, "base", found) == timedelta(days=2, hours=6)


def test_a_schedule_its_blackouts_swallow_is_refused_instead_of_waiting_for_ever() -> None:
    made = schedule(every="1d", window="22:00-23:00", blackout="21:00-23:30")
    assert worst_gap(made, "base") is None
    with pytest.raises(PolicyError, match="never comes due"):
        due_after(made, "base", None, datetime(2026, 11, 23, tzinfo=UTC))
