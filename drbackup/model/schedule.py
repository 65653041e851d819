"""When a system's copies are due, worked out from the policy alone.

A due is an aware UTC instant. Invariants: dues ascend strictly. The same schedule and system name always give the same
dues, on every machine and after every restart. So the catalog can keep them as rows.

Local times follow the IANA zone. A time that does not exist (spring) becomes the next instant that does. A time that
comes twice (autumn) counts once, the first time. Nothing here reads a clock.
"""

from __future__ import annotations

import hashlib
import itertools
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from drbackup.errors import PolicyError, say
from drbackup.model.policy import SchedulePolicy
from drbackup.model.window import DateSpan, Window
from drbackup.system.instants import EPOCH

MISSED_AFTER = timedelta(minutes=5)
"""With ``catch_up: skip``, a due this young still runs: the controller merely looked a little late."""

_Span = tuple[datetime, datetime]
_TICK = timedelta(microseconds=1)
_DAY = timedelta(days=1)
_NEVER = timedelta(days=9 * 366)  # beyond the longest gap a cron line can have (29 February across 2100)
_REFERENCE = datetime(2027, 1, 4, tzinfo=UTC)  # a Monday; any would do
_REFERENCE_SPAN = timedelta(days=400)
_REFERENCE_DUES = 20_000


def due_after(
    schedule: SchedulePolicy, system: str, last_due: datetime | None, now: datetime, grace: timedelta = MISSED_AFTER
) -> datetime:
    """The due to wait for or, when it is not after ``now``, to run at once.

    ``last_due`` is the last due that was run or noted as missed. None, for a system never seen, gives the first due at
    or after ``now``. After an outage, ``catch_up: once`` gives the newest missed due: one run for all of them. ``skip``
    gives the next future due, or a past one that is at most ``grace`` late. Raises :class:`PolicyError` for a schedule
    that never comes due.
    """
    if last_due is None:
        return _first(schedule, system, now - _TICK)
    newest_past = None
    for due in dues(schedule, system, last_due):
        if due > now:
            late = newest_past is not None and (schedule.catch_up == "once" or now - newest_past <= grace)
            return newest_past if newest_past is not None and late else due
        newest_past = due
    return newest_past or _first(schedule, system, last_due)


def missed(
    schedule: SchedulePolicy, system: str, last_due: datetime, now: datetime, grace: timedelta = MISSED_AFTER
) -> tuple[datetime, ...]:
    """The dues after ``last_due``, up to ``now``, that will never run: all but the one that :func:`due_after` gives."""
    chosen = due_after(schedule, system, last_due, now, grace)
    past = itertools.takewhile(lambda due: due <= now, dues(schedule, system, last_due))
    return tuple(due for due in past if due != chosen)


def dues(schedule: SchedulePolicy, system: str, after: datetime) -> Iterator[datetime]:
    """All dues strictly after ``after``, ascending. They end only when none can come any more."""
    zone = zoneinfo.ZoneInfo(schedule.time_zone)
    start = after
    while span := _blackout_around(schedule, zone, start):
        start = span[0] - _TICK  # a due inside this blackout waits for its end, which may be after ``after``
    latest, known = after, (after, after)
    raws = _raw_dues(schedule, system, zone, start)
    while (found := next(raws, None)) is not None:
        raw, limit = found
        due = raw
        while span := _blackout_around(schedule, zone, due, known):
            known, due = span, span[1]
        if due != raw and limit is None:
            raws = _raw_dues(schedule, system, zone, due)  # all between wait for this same end
        if due > latest and (limit is None or due < limit):
            yield due
            latest = due
        elif due > _hopeless(schedule, zone, latest):
            return


def worst_gap(schedule: SchedulePolicy, system: str) -> timedelta | None:
    """The longest time between two dues in an ordinary year; None if the schedule never comes due twice.

    Clock changes and blackouts by date are left out, because they are single, announced exceptions.
    """
    if schedule.every is not None and schedule.window is None and not schedule.blackout:
        return schedule.every
    weekly = tuple(span for span in schedule.blackout if isinstance(span, Window))
    plain = schedule.model_copy(update={"time_zone": "UTC", "blackout": weekly})
    longest, previous = None, None
    for count, due in enumerate(itertools.islice(dues(plain, system, _REFERENCE), _REFERENCE_DUES)):
        if previous is not None:
            longest = max(longest or due - previous, due - previous)
        previous = due
        if count >= 3 and due > _REFERENCE + _REFERENCE_SPAN:
            break
    return longest


def pause_around(schedule: SchedulePolicy, system: str, span: DateSpan) -> timedelta:
    """The time without a due around a blackout by date; zero if the schedule never comes due before it."""
    zone = zoneinfo.ZoneInfo(schedule.time_zone)
    begin = _instant(span.first, 0, zone)
    usual = worst_gap(schedule, system)
    if usual is None:
        return timedelta(0)
    previous = None
    for due in dues(schedule, system, begin - usual - _DAY):
        if due >= begin:
            return due - previous if previous is not None else timedelta(0)
        previous = due
    return timedelta(0)


def spread_offset(system: str, span: timedelta) -> timedelta:
    """A fixed share of ``span``, in whole seconds, so that systems with the same interval do not start together.

    It comes from the SHA-256 of the system's name, and is shorter than ``span``.
    """
    share = int.from_bytes(hashlib.sha256(system.encode()).digest()[:8])
    return timedelta(seconds=share * int(span.total_seconds()) >> 64)


def _hopeless(schedule: SchedulePolicy, zone: zoneinfo.ZoneInfo, latest: datetime) -> datetime:
    """The instant by which a due after ``latest`` must have come, if any ever comes."""
    if schedule.every is None:
        return latest + _NEVER
    ends = [_instant(span.last + _DAY, 0, zone) for span in schedule.blackout if isinstance(span, DateSpan)]
    # Windows and weekly blackouts repeat each week, and it may be this system's turn only every so many openings.
    return max([latest, *ends]) + timedelta(days=14) + 14 * schedule.every


def _first(schedule: SchedulePolicy, system: str, after: datetime) -> datetime:
    found = next(dues(schedule, system, after), None)
    if found is None:
        raise PolicyError(say("the schedule of {system} never comes due: its blackouts leave no time", system=system))
    return found


def _raw_dues(
    schedule: SchedulePolicy, system: str, zone: zoneinfo.ZoneInfo, start: datetime
) -> Iterator[tuple[datetime, datetime | None]]:
    """Dues from ``start`` on, without regard to blackouts, each with the instant at which its window closes."""
    if schedule.every is not None and schedule.window is None:
        # Anchored to the epoch, not to the last run: a late run does not push all later ones.
        offset = spread_offset(system, schedule.every) if schedule.spread else timedelta(0)
        step = -((EPOCH + offset - start) // schedule.every)
        for number in itertools.count(step):
            yield EPOCH + offset + number * schedule.every, None
    for day in _days_from(start.astimezone(zone).date() - 2 * _DAY):
        for due, limit in _dues_of_day(schedule, system, zone, day):
            if due >= start:
                yield due, limit
        if _instant(day, 0, zone) - start > 2 * _NEVER:
            return


def _days_from(day: date) -> Iterator[date]:
    while day < date.max - _DAY:
        yield day
        day += _DAY


def _dues_of_day(
    schedule: SchedulePolicy, system: str, zone: zoneinfo.ZoneInfo, day: date
) -> Iterator[tuple[datetime, datetime | None]]:
    if schedule.cron is not None:
        if schedule.cron.matches(day):
            for minute in schedule.cron.times():
                yield _instant(day, minute * 60, zone), None
        return
    window, every = schedule.window, schedule.every
    if window is None or every is None or not _opens(schedule, window, system, day):
        return
    length, interval = window.minutes * 60, int(every.total_seconds())
    offset = spread_offset(system, timedelta(seconds=min(length, interval))) if schedule.spread else timedelta(0)
    limit = _instant(day, window.close * 60, zone)
    last = min(length, 86400) if interval < 86400 else 1 + int(offset.total_seconds())
    for second in range(int(offset.total_seconds()), last, interval):
        due = _instant(day, window.open * 60 + second, zone)
        # When a clock change skips the window itself, a start right after it is better than none.
        yield due, max(limit, due + _TICK)


def _opens(schedule: SchedulePolicy, window: Window, system: str, day: date) -> bool:
    """Whether the window opens on this day and it is this system's turn (every: 2d takes every second opening)."""
    if day.weekday() not in window.days or schedule.every is None:
        return False
    turn = max(1, schedule.every // _DAY)
    week, weekday = divmod(day.toordinal() - 1, 7)
    opening = week * len(window.days) + sum(1 for other in window.days if other < weekday)
    shift = int.from_bytes(hashlib.sha256(system.encode()).digest()[8:16]) if schedule.spread else 0
    return (opening + shift) % turn == 0


def _blackout_around(
    schedule: SchedulePolicy, zone: zoneinfo.ZoneInfo, moment: datetime, known: _Span | None = None
) -> _Span | None:
    """Begin and end of a blackout that holds ``moment``; the end is outside it. ``known`` is tried first."""
    if known is not None and known[0] <= moment < known[1]:
        return known
    if not schedule.blackout:
        return None
    today = moment.astimezone(zone).date()
    for span in schedule.blackout:
        if isinstance(span, DateSpan):
            spans = [(_instant(span.first, 0, zone), _instant(span.last + _DAY, 0, zone))]
        else:
            spans = [
                (_instant(day, span.open * 60, zone), _instant(day, span.close * 60, zone))
                for day in (today - _DAY, today)
                if day.weekday() in span.days
            ]
        for begin, end in spans:
            if begin <= moment < end:
                return begin, end
    return None


def _instant(day: date, second: int, zone: zoneinfo.ZoneInfo) -> datetime:
    """The UTC instant of a local time, ``second`` counted on the wall clock from ``day``'s midnight."""
    local = datetime(day.year, day.month, day.day) + timedelta(seconds=second)  # noqa: DTZ001 - becomes aware below
    early = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    late = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if late <= early:
        return late  # ordinary, or ambiguous: the first of the two
    # In a gap the two readings lie on either side of the clock change: bisect to the first second after it.
    after = late.astimezone(zone).utcoffset()
    while late - early > timedelta(seconds=1):
        middle = early + timedelta(seconds=(late - early) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == after:
            late = middle
        else:
            early = middle
    return late
