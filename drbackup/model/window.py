"""Spans of local time in a policy: the daily window in which a backup may start, and blackouts in which it must not.

Grammar: ``22:00-06:00`` is every day, past midnight if the end is not after the start. ``mon-fri 08:00-18:00`` and
``sat,sun 00:00-24:00`` name weekdays. A blackout may also be whole days: ``2026-12-28..2027-01-03``, both included.

Times are the policy's local time. :mod:`drbackup.model.schedule` decides which instants they are.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any

import msgspec
from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from drbackup.errors import say

DAY_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EVERY_DAY = frozenset(range(7))
_WINDOW = re.compile(r"(?:(?P<days>[a-z,-]+) )?(?P<open>\d\d:\d\d)-(?P<close>\d\d:\d\d)")
_DATES = re.compile(r"(\d{4}-\d\d-\d\d)(?:\.\.(\d{4}-\d\d-\d\d))?")
_WINDOW_HELP = say("write it like 22:00-06:00 or mon-fri 20:00-23:30")


class Window(msgspec.Struct, frozen=True):
    """A span of minutes that begins on some weekdays."""

    open: int  # minutes after local midnight, 0 to 1439
    close: int  # minutes after the same midnight, more than ``open``; more than 1440 when it is past the next midnight
    days: frozenset[int] = _EVERY_DAY  # weekdays on which it begins, Monday 0

    @property
    def minutes(self) -> int:
        """The length in minutes."""
        return self.close - self.open

    def __str__(self) -> str:
        span = f"{_clock(self.open)}-{_clock(self.close if self.close <= 1440 else self.close - 1440)}"
        return span if self.days == _EVERY_DAY else f"{','.join(DAY_NAMES[d] for d in sorted(self.days))} {span}"


class DateSpan(msgspec.Struct, frozen=True):
    """Whole local days, both ends included."""

    first: date
    last: date

    def __str__(self) -> str:
        return f"{self.first}..{self.last}"


def parse_window(value: object) -> Window:
    """The daily window of a text. Raises ``ValueError``, which says how to write one."""
    if isinstance(value, Window):
        return value
    match = _WINDOW.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(
            say("{value} is not a daily window: {window_help}", value=repr(value), window_help=_WINDOW_HELP)
        )
    opens, closes = _minutes(match["open"]), _minutes(match["close"])
    if opens == 1440:
        raise ValueError(say("{value} opens at 24:00: write 00:00", value=repr(value)))
    if opens == closes:
        raise ValueError(
            say("{value} is empty: for the whole day write 00:00-24:00, or leave the window out", value=repr(value))
        )
    days = _parse_days(match["days"]) if match["days"] else _EVERY_DAY
    return Window(opens, closes if closes > opens else closes + 1440, days)


def parse_blackout(value: object) -> Window | DateSpan:
    """The daily window or span of dates of a text. Raises ``ValueError``, which says how to write one."""
    if isinstance(value, DateSpan):
        return value
    match = _DATES.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        try:
            return parse_window(value)
        except ValueError as error:
            raise ValueError(say("{why}, or dates like 2026-12-28..2027-01-03", why=say(*error.args))) from None
    try:
        first, last = date.fromisoformat(match[1]), date.fromisoformat(match[2] or match[1])
    except ValueError:
        raise ValueError(say("{value} names a day that is not in the calendar", value=repr(value))) from None
    if last < first:
        raise ValueError(say("{value} ends before it begins", value=repr(value)))
    return DateSpan(first, last)


def covers_week(spans: tuple[Window | DateSpan, ...]) -> bool:
    """Whether the weekly ones of ``spans`` together leave no minute of a week free."""
    week = 7 * 1440
    taken = {
        (day * 1440 + minute) % week
        for span in spans
        if isinstance(span, Window)
        for day in span.days
        for minute in range(span.open, span.close)
    }
    return len(taken) == week


def _parse_blackouts(value: object) -> tuple[Window | DateSpan, ...]:
    return tuple(parse_blackout(item) for item in (value if isinstance(value, list | tuple) else [value]))


def _minutes(clock: str) -> int:
    hours, minutes = int(clock[:2]), int(clock[3:])
    if minutes > 59 or hours * 60 + minutes > 1440:
        raise ValueError(say("{clock} is not a time of day: 00:00 to 24:00", clock=clock))
    return hours * 60 + minutes


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _parse_days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in DAY_NAMES or (last or first) not in DAY_NAMES:
            raise ValueError(
                say(
                    "{part} is not a weekday: use {day_names}, like mon-fri or sat,sun",
                    part=repr(part),
                    day_names=" ".join(DAY_NAMES),
                )
            )
        start, end = DAY_NAMES.index(first), DAY_NAMES.index(last or first)
        found.update(range(start, end + 1) if start <= end else [*range(start, 7), *range(end + 1)])
    return frozenset(found)


def _window_schema(dates: bool) -> dict[str, Any]:
    examples = ["22:00-06:00", "mon-fri 20:00-23:30"] + (["2026-12-28..2027-01-03"] if dates else [])
    return {"type": "string", "examples": examples}


DailyWindow = Annotated[
    Window,
    PlainValidator(parse_window),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema(_window_schema(dates=False)),
]

Blackouts = Annotated[
    tuple[Window | DateSpan, ...],
    PlainValidator(_parse_blackouts),
    PlainSerializer(lambda spans: [str(span) for span in spans], return_type=list[str], when_used="json"),
    WithJsonSchema(
        {"anyOf": [_window_schema(dates=True), {"type": "array", "items": _window_schema(dates=True)}]},
    ),
]
