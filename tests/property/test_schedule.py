"""Dues ascend, lie where the policy allows them, are the same everywhere, and survive clocks that jump."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from drbackup.model.policy import SchedulePolicy
from drbackup.model.schedule import MISSED_AFTER, due_after, dues, missed, spread_offset, worst_gap
from drbackup.model.window import DateSpan, Window

ZONES = ["UTC", "Asia/Shanghai", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo"]

_EARLIEST, _LATEST = datetime(2005, 1, 1), datetime(2040, 1, 1)  # noqa: DTZ001 - the strategy adds the zone
instants = st.datetimes(_EARLIEST, _LATEST, timezones=st.just(UTC))
systems = st.from_regex(r"[a-z][a-z0-9-]{0,12}[a-z0-9]", fullmatch=True)
zones = st.sampled_from(ZONES)
clock_times = st.integers(0, 1439).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")
spans = st.tuples(clock_times, clock_times).filter(lambda pair: pair[0] != pair[1]).map("-".join)
intervals = st.sampled_from(["1m", "7m", "15m", "1h", "5h", "12h", "1d", "2d", "7d"])
cron_lines = st.builds(
    "{} {} {} * {}".format,
    st.sampled_from(["0", "30", "*/15", "1,59"]),
    st.sampled_from(["*", "2", "1-3", "*/6", "23"]),
    st.sampled_from(["*", "1", "*/5", "31"]),
    st.sampled_from(["*", "mon-fri", "0"]),
)
# One weekly blackout may be long; with an hour left free every day, a due can always come out of it.
blackouts = st.lists(spans, max_size=1) | st.just(["2026-03-01..2026-03-20", "sat,sun 00:00-24:00"])


@st.composite
def schedules(draw: Callable[..., object]) -> SchedulePolicy:
    values: dict[str, object] = {"time_zone": draw(zones), "spread": draw(st.booleans()), "blackout": draw(blackouts)}
    values["catch_up"] = draw(st.sampled_from(["once", "skip"]))
    if draw(st.booleans()):
        values["cron"] = draw(cron_lines)
    else:
        values["every"] = draw(intervals)
        if draw(st.booleans()):
            values["window"] = draw(spans)
    return SchedulePolicy.model_validate(values)


def local(moment: datetime, schedule: SchedulePolicy) -> datetime:
    return moment.astimezone(ZoneInfo(schedule.time_zone))


def inside(moment: datetime, span: Window | DateSpan) -> bool:
    """By the wall clock, written down another way than in the module under test."""
    if isinstance(span, DateSpan):
        return span.first <= moment.date() <= span.last
    minute = moment.hour * 60 + moment.minute
    yesterday = (moment.weekday() - 1) % 7
    today = moment.weekday() in span.days and span.open <= minute < span.close
    return today or (yesterday in span.days and minute + 1440 < span.close)


def clock_jumps_near(moment: datetime, schedule: SchedulePolicy) -> bool:
    zone = ZoneInfo(schedule.time_zone)
    around = {(moment + timedelta(hours=hours)).astimezone(zone).utcoffset() for hours in (-26, 0, 26)}
    return len(around) > 1


@given(schedules(), systems, instants)
@settings(deadline=None)
def test_dues_ascend_strictly_after_the_start_and_are_utc(
    schedule: SchedulePolicy, system: str, start: datetime
) -> None:
    found = list(itertools.islice(dues(schedule, system, start), 30))
    assert all(due.tzinfo is UTC for due in found)
    assert all(one < two for one, two in itertools.pairwise([start, *found]))


@given(schedules(), systems, instants)
@settings(deadline=None)
def test_a_later_start_gives_the_same_dues(schedule: SchedulePolicy, system: str, start: datetime) -> None:
    found = list(itertools.islice(dues(schedule, system, start), 12))
    for number, due in enumerate(found[:-1]):
        assert next(dues(schedule, system, due)) == found[number + 1]
    if len(found) > 1:
        between = found[0] + (found[1] - found[0]) / 2
        assert next(dues(schedule, system, between)) == found[1]


@given(schedules(), systems, instants)
@settings(deadline=None)
def test_every_due_is_inside_the_window_and_outside_every_blackout(
    schedule: SchedulePolicy, system: str, start: datetime
) -> None:
    for due in itertools.islice(dues(schedule, system, start), 20):
        if clock_jumps_near(due, schedule):
            continue
        if schedule.window is not None:
            assert inside(local(due, schedule), schedule.window)
        assert not any(inside(local(due, schedule), span) for span in schedule.blackout)


@given(cron_lines, zones, systems, st.integers(2007, 2037), st.sampled_from([3, 4, 10, 11]))
@settings(deadline=None)
def test_a_cron_line_never_comes_twice_in_the_hour_the_clock_repeats_nor_skips_one(
    line: str, zone: str, system: str, year: int, month: int
) -> None:
    schedule = SchedulePolicy.model_validate({"cron": line, "time_zone": zone})
    start = datetime(year, month, 1, tzinfo=UTC)
    found = list(itertools.takewhile(lambda due: due < start + timedelta(days=33), dues(schedule, system, start)))
    walls = [local(due, schedule).replace(tzinfo=None) for due in found]
    assert len(set(walls)) == len(walls)
    assert walls == sorted(walls)


@given(intervals, systems, instants)
def test_a_plain_interval_is_kept_to_the_second_whatever_clocks_do(every: str, system: str, start: datetime) -> None:
    schedule = SchedulePolicy.model_validate({"every": every, "time_zone": "Europe/Berlin"})
    found = list(itertools.islice(dues(schedule, system, start), 5))
    assert {two - one for one, two in itertools.pairwise(found)} == {schedule.every}
    assert schedule.every is not None
    assert found[0] - start <= schedule.every


@given(schedules(), systems, instants, st.timedeltas(timedelta(0), timedelta(days=3)))
@settings(deadline=None)
def test_after_an_outage_every_due_is_either_run_or_missed(
    schedule: SchedulePolicy, system: str, last: datetime, outage: timedelta
) -> None:
    now = last + outage
    if next(dues(schedule, system, last), None) is None:
        return
    chosen = due_after(schedule, system, last, now)
    lost = missed(schedule, system, last, now)
    past = list(itertools.takewhile(lambda due: due <= now, dues(schedule, system, last)))
    assert chosen > last
    assert sorted({*lost, chosen} & set(past)) == past
    assert chosen not in lost
    if schedule.catch_up == "once":
        assert chosen == (past[-1] if past else next(dues(schedule, system, last)))
    else:
        assert chosen >= now - MISSED_AFTER


@given(schedules(), systems, instants)
@settings(deadline=None, max_examples=40)
def test_no_gap_is_longer_than_the_worst_gap(schedule: SchedulePolicy, system: str, start: datetime) -> None:
    worst = worst_gap(schedule, system)
    for one, two in itertools.pairwise(itertools.islice(dues(schedule, system, start), 40)):
        if any(isinstance(span, DateSpan) for span in schedule.blackout) or clock_jumps_near(one, schedule):
            continue
        if clock_jumps_near(two, schedule) or (two - one) > timedelta(days=20):
            continue
        assert worst is not None
        assert two - one <= worst


@given(systems, st.timedeltas(timedelta(seconds=1), timedelta(days=30)))
def test_the_spread_is_fixed_and_less_than_the_interval(system: str, span: timedelta) -> None:
    assert timedelta(0) <= spread_offset(system, span) < span
    assert spread_offset(system, span) == spread_offset(system, span)
