"""Windows, blackouts and cron lines are read strictly."""

from __future__ import annotations

from datetime import date

import pytest

from drbackup.model.cron import parse_cron
from drbackup.model.window import DateSpan, Window, covers_week, parse_blackout, parse_window


def test_a_window_past_midnight_ends_on_the_next_day() -> None:
    assert parse_window("22:00-06:00") == Window(22 * 60, 30 * 60)
    assert parse_window("mon-fri 08:00-18:00").days == {0, 1, 2, 3, 4}
    assert parse_window("sat,sun 00:00-24:00") == Window(0, 1440, frozenset({5, 6}))
    assert parse_window("fri-mon 01:00-02:00").days == {4, 5, 6, 0}


@pytest.mark.parametrize("text", ["22:00-06:00", "mon,tue 08:00-18:30", "sat,sun 00:00-24:00", "12:00-11:59"])
def test_a_window_prints_as_it_is_read(text: str) -> None:
    assert str(parse_window(text)) == text


@pytest.mark.parametrize(
    "wrong",
    ["22:00", "22-06", "25:00-06:00", "22:60-23:00", "10:00-10:00", "24:00-01:00", "moo 01:00-02:00", "", None, 5],
)
def test_a_wrong_window_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"window|time of day|weekday|empty|24:00"):
        parse_window(wrong)


def test_a_blackout_may_be_dates() -> None:
    assert parse_blackout("2026-12-28..2027-01-03") == DateSpan(date(2026, 12, 28), date(2027, 1, 3))
    assert parse_blackout("2026-12-28") == DateSpan(date(2026, 12, 28), date(2026, 12, 28))
    for wrong in ("2026-02-30", "2027-01-03..2026-12-28", "2026-1-1"):
        with pytest.raises(ValueError, match=r"calendar|before it begins|dates like"):
            parse_blackout(wrong)


def test_blackouts_that_leave_no_minute_of_the_week_are_recognised() -> None:
    assert covers_week((parse_window("00:00-12:00"), parse_window("12:00-00:00")))
    assert not covers_week((parse_window("00:00-12:00"), parse_window("12:00-23:59")))
    assert not covers_week((parse_blackout("2026-01-01..2099-01-01"),))


def test_a_cron_line_is_read_as_every_administrator_reads_it() -> None:
    cron = parse_cron("*/20 8-10,22 * jan-mar mon,7")
    assert cron.minutes == (0, 20, 40)
    assert cron.hours == (8, 9, 10, 22)
    assert cron.months == {1, 2, 3}
    assert cron.weekdays == {0, 6}
    assert parse_cron("5/20 * * * *").minutes == (5, 25, 45)


def test_two_restricted_day_fields_are_an_or() -> None:
    cron = parse_cron("0 0 1 * mon")
    assert cron.matches(date(2026, 12, 1))  # a Tuesday, the first
    assert cron.matches(date(2026, 12, 7))  # a Monday
    assert not cron.matches(date(2026, 12, 2))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("* * * *", "five fields"),
        ("60 * * * *", "minute"),
        ("0 24 * * *", "hour"),
        ("0 0 0 * *", "day of month"),
        ("0 0 * 13 *", "month"),
        ("0 0 * * 8", "day of week"),
        ("0 5-3 * * *", "backwards"),
        ("0 0 30 2 *", "never comes"),
        ("*/0 * * * *", "minute"),
        ("a * * * *", "minute"),
        ("0, * * * *", "minute"),
        ("② * * * *", "minute"),
    ],
)
def test_a_wrong_cron_line_names_its_field(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_cron(text)
