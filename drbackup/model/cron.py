"""The five cron fields, as sets: minute, hour, day of month, month, day of week.

The rules are Vixie cron's: ``*``, lists, ranges, ``/step``, names (``jan``, ``mon``), and 7 is Sunday, too. When both
day fields are restricted, a day that matches either counts. Nothing here knows a time zone:
:mod:`drbackup.model.schedule` decides which instants the local times are.
"""

from __future__ import annotations

from datetime import date, timedelta

import msgspec

from drbackup.errors import say
from drbackup.model.window import DAY_NAMES

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CRON_DAYS = ("sun", *DAY_NAMES[:6])
_LONGEST_GAP_DAYS = 8 * 366 + 1  # 29 February can be eight years away (2096 → 2104)


class Cron(msgspec.Struct, frozen=True):
    """One cron line."""

    text: str  # as written
    minutes: tuple[int, ...]  # 0 to 59, ascending
    hours: tuple[int, ...]  # 0 to 23, ascending
    days: frozenset[int]  # of the month, 1 to 31
    months: frozenset[int]  # 1 to 12
    weekdays: frozenset[int]  # Monday 0, as Python counts, not Sunday 0, as cron does
    any_day: bool  # the field of days begins with ``*``
    any_weekday: bool  # the field of weekdays begins with ``*``

    def matches(self, day: date) -> bool:
        """Whether the line names a time on this local day."""
        if day.month not in self.months:
            return False
        in_month, in_week = day.day in self.days, day.weekday() in self.weekdays
        # Vixie cron's rule, which every administrator's crontab relies on: two restricted day fields are an "or".
        return in_month and in_week if self.any_day or self.any_weekday else in_month or in_week

    def times(self) -> list[int]:
        """The times of a day that matches: minutes after local midnight, ascending."""
        return [hour * 60 + minute for hour in self.hours for minute in self.minutes]

    def __str__(self) -> str:
        return self.text


def parse_cron(text: str) -> Cron:
    """The cron line of a text. Raises ``ValueError`` for a wrong field or a day that never comes (30 February)."""
    fields = text.split()
    if len(fields) != 5:
        raise ValueError(
            say(
                "a cron line has five fields (minute hour day month weekday), here {n}: like '30 2 * * *'",
                n=len(fields),
            )
        )
    minutes = _field("minute", fields[0], 0, 59)
    hours = _field("hour", fields[1], 0, 23)
    days = _field("day of month", fields[2], 1, 31)
    months = _field("month", fields[3], 1, 12, _MONTHS)
    weekdays = _field("day of week", fields[4], 0, 7, _CRON_DAYS)
    cron = Cron(
        text=text,
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset((day - 1) % 7 for day in weekdays),
        any_day=fields[2].startswith("*"),
        any_weekday=fields[4].startswith("*"),
    )
    start = date(2096, 3, 1)  # just after a leap day, where the longest gap begins
    if not any(cron.matches(start + timedelta(days=ahead)) for ahead in range(_LONGEST_GAP_DAYS)):
        raise ValueError(say("{text} names a day that never comes", text=repr(text)))
    return cron


def _field(name: str, text: str, low: int, high: int, words: tuple[str, ...] = ()) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = _number(name, step_text, 1, high, ()) if slash else 1
        first, dash, last = span.partition("-")
        if span == "*":
            start, end = low, high
        else:
            start = _number(name, first, low, high, words)
            end = _number(name, last, low, high, words) if dash else (high if slash else start)
        if end < start:
            raise ValueError(
                say("the {name} field of the cron line counts backwards: {span}", name=name, span=repr(span))
            )
        found.update(range(start, end + 1, step))
    return found


def _number(name: str, text: str, low: int, high: int, words: tuple[str, ...]) -> int:
    if text.lower() in words:
        return words.index(text.lower()) + low
    if text.isascii() and text.isdigit() and low <= int(text) <= high:
        return int(text)
    raise ValueError(
        say(
            "the {name} field of the cron line reads {text}: it takes {low} to {high}",
            name=name,
            text=repr(text),
            low=low,
            high=high,
        )
    )
