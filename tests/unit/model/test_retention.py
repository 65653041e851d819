"""Retention by example: which points of a year of nightly copies stay, and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from drbackup.model.point import Point, Rung, Totals
from drbackup.model.policy import KeepPolicy
from drbackup.model.retention import decide_retention

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def point(days_ago: float, *, rung: Rung = Rung.WRITTEN, held: str = "", group: str = "", source: str = "r") -> Point:
    pinned = NOW - timedelta(days=days_ago)
    return Point(
        id=f"{source}-{days_ago}",
        name="",
        system="base",
        source=source,
        domain="db1",
        kind="files",
        pinned_at=pinned,
        committed_at=pinned,
        totals=Totals(),
        rung=rung,
        held=held,
        group=group,
    )


def test_a_year_of_nightly_copies_thins_out_to_days_weeks_months_and_a_year() -> None:
    decided = decide_retention(
        [point(day) for day in range(400)],
        KeepPolicy(daily=7, weekly=4, monthly=12, yearly=2, at_least_drilled=0),
        NOW,
    )
    assert len(decided.keep) == 7 + 2 + 11  # the newest of a week, month or year is often a day kept anyway
    assert decided.keep[0].reasons == (
        "newest written",
        "daily 1 of 7",
        "weekly 1 of 4",
        "monthly 1 of 12",
        "yearly 1 of 2",
    )
    assert all(ruling.reasons == ("no keep rule covers it",) for ruling in decided.drop)


def test_periods_without_a_copy_are_not_counted_so_silence_deletes_nothing() -> None:
    decided = decide_retention([point(day) for day in (200, 201, 202)], KeepPolicy(daily=3), NOW)
    assert not decided.drop


def test_the_day_is_the_policy_s_own_day() -> None:
    late = replace(point(0), id="late", pinned_at=datetime(2026, 11, 22, 17, tzinfo=UTC))  # the 23rd in Shanghai
    early = replace(point(0), id="early", pinned_at=datetime(2026, 11, 22, 15, tzinfo=UTC))  # still the 22nd there
    keep = KeepPolicy(daily=2, at_least_drilled=0)
    assert not decide_retention([late, early], keep, NOW, "Asia/Shanghai").drop
    assert [ruling.point.id for ruling in decide_retention([late, early], keep, NOW, "UTC").drop] == ["early"]


def test_an_old_app_checked_point_outlives_newer_unproven_ones() -> None:
    decided = decide_retention(
        [point(day) for day in range(10)] + [point(300, rung=Rung.APP_CHECKED)], KeepPolicy(daily=2), NOW
    )
    oldest = decided.keep[-1]
    assert oldest.point.rung == Rung.APP_CHECKED
    assert "app-checked 1 of 1" in oldest.reasons
    assert "newest restored" in oldest.reasons


def test_a_held_point_stays_and_says_why() -> None:
    decided = decide_retention([point(0), point(50, held="court order 7")], KeepPolicy(hourly=1), NOW)
    assert decided.keep[-1].reasons == ("held: court order 7",)


def test_a_point_from_the_future_stays_because_a_clock_was_wrong() -> None:
    decided = decide_retention([point(-2), point(-1), point(0)], KeepPolicy(daily=1), NOW)
    assert [ruling.point.id for ruling in decided.drop] == ["r-0"]
    assert "lies in the future: a clock was wrong" in decided.keep[1].reasons


def test_a_group_stays_whole_when_one_member_stays() -> None:
    points = [point(0), point(5, group="g", held="court"), point(0, source="s"), point(5, group="g", source="s")]
    decided = decide_retention(points, KeepPolicy(hourly=1), NOW)
    assert not decided.drop
    assert "belongs to kept group g" in [reason for ruling in decided.keep for reason in ruling.reasons]


def test_a_point_damaged_in_every_copy_never_takes_a_whole_ones_place() -> None:
    whole, lost = point(3.1), point(3.0)  # of one day; the newer one is the lost one
    keep = KeepPolicy(daily=3, at_least_drilled=0)
    points = [point(1), point(2), whole, lost]
    assert whole.id in {ruling.point.id for ruling in decide_retention(points, keep, NOW).drop}
    decided = decide_retention(points, keep, NOW, lost={lost.id})
    reasons = {ruling.point.id: ruling.reasons for ruling in decided.keep}
    assert reasons[whole.id] == ("daily 3 of 3",)
    assert reasons[lost.id] == ("damaged in every copy, stays as if it were whole: daily 3 of 3",)


def test_a_day_of_lost_points_alone_does_not_use_up_a_day() -> None:
    points = [point(day) for day in range(4)]
    decided = decide_retention(points, KeepPolicy(daily=2, at_least_drilled=0), NOW, lost={points[0].id})
    reasons = {ruling.point.id: ruling.reasons[0] for ruling in decided.keep}
    assert list(reasons) == [points[0].id, points[1].id, points[2].id]
    assert reasons[points[1].id] == "newest written"
    assert "damaged in every copy" in reasons[points[0].id]


def test_a_lost_point_that_no_rule_covers_goes_like_any_other_and_a_held_one_stays() -> None:
    points = [point(0), point(50), point(60, held="court")]
    decided = decide_retention(points, KeepPolicy(hourly=1), NOW, lost={"r-50", "r-60"})
    assert [ruling.reasons for ruling in decided.drop] == [("no keep rule covers it",)]
    assert decided.keep[-1].reasons == ("held: court",)
