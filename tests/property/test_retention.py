"""Whatever the points and the rules: the newest proven copy stays, a held one stays, and every ruling has a reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from drbackup.model.point import Point, Rung, Totals
from drbackup.model.policy import KeepPolicy
from drbackup.model.retention import decide_retention

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@st.composite
def point_lists(draw: st.DrawFn) -> list[Point]:
    count = draw(st.integers(0, 40))
    return [
        Point(
            id=f"{number:064x}",
            name=f"v1/r/base/{number}",
            system="base",
            source=draw(st.sampled_from(["registry", "scans"])),
            domain="db1",
            kind="files",
            pinned_at=(pinned := NOW - timedelta(minutes=draw(st.integers(-60, 3 * 366 * 1440)))),
            committed_at=pinned + timedelta(minutes=5),
            totals=Totals(),
            rung=draw(st.sampled_from(Rung)),
            held=draw(st.sampled_from(["", "", "", "court"])),
            group=draw(st.sampled_from(["", "", "g1", "g2"])),
        )
        for number in range(count)
    ]


counts = st.integers(0, 5)
keeps = st.builds(
    KeepPolicy,
    hourly=counts,
    daily=counts,
    weekly=counts,
    monthly=counts,
    yearly=st.integers(1, 3),
    at_least_drilled=counts,
)


@given(point_lists(), keeps)
def test_every_point_is_ruled_once_with_a_reason(points: list[Point], keep: KeepPolicy) -> None:
    decided = decide_retention(points, keep, NOW, "Asia/Shanghai")
    ruled = [ruling.point.id for ruling in (*decided.keep, *decided.drop)]
    assert sorted(ruled) == sorted(point.id for point in points)
    assert all(ruling.reasons for ruling in (*decided.keep, *decided.drop))
    assert all(ruling.keep for ruling in decided.keep)
    assert not any(ruling.keep for ruling in decided.drop)


@given(point_lists(), keeps)
def test_the_newest_of_every_rung_and_every_held_one_stay(points: list[Point], keep: KeepPolicy) -> None:
    kept = {ruling.point.id for ruling in decide_retention(points, keep, NOW).keep}
    assert all(point.id in kept for point in points if point.held)
    for source in {point.source for point in points}:
        for rung in Rung:
            proven = [point for point in points if point.source == source and point.rung >= rung]
            if proven:
                newest = max(point.pinned_at for point in proven)
                assert any(point.id in kept for point in proven if point.pinned_at == newest)


@given(point_lists(), keeps)
def test_at_least_so_many_app_checked_points_of_each_source_stay(points: list[Point], keep: KeepPolicy) -> None:
    decided = decide_retention(points, keep, NOW)
    for source in {point.source for point in points}:
        proven = [point for point in points if point.source == source and point.rung >= Rung.APP_CHECKED]
        kept = [r for r in decided.keep if r.point.source == source and r.point.rung >= Rung.APP_CHECKED]
        assert len(kept) >= min(len(proven), keep.at_least_drilled)


@given(point_lists(), keeps)
def test_what_stays_would_stay_again(points: list[Point], keep: KeepPolicy) -> None:
    once = decide_retention(points, keep, NOW)
    again = decide_retention([ruling.point for ruling in once.keep], keep, NOW)
    assert not again.drop


@given(point_lists(), keeps)
def test_the_order_of_the_points_changes_nothing(points: list[Point], keep: KeepPolicy) -> None:
    assert decide_retention(points, keep, NOW) == decide_retention(points[::-1], keep, NOW)


@given(point_lists(), keeps)
def test_a_group_is_kept_whole_or_not_at_all(points: list[Point], keep: KeepPolicy) -> None:
    decided = decide_retention(points, keep, NOW)
    kept = {ruling.point.group for ruling in decided.keep} - {""}
    assert not kept & {ruling.point.group for ruling in decided.drop}


@given(point_lists(), keeps, st.sampled_from(["hourly", "daily", "weekly", "monthly", "yearly", "at_least_drilled"]))
def test_keeping_more_never_drops_what_was_kept(points: list[Point], keep: KeepPolicy, rule: str) -> None:
    more = keep.model_copy(update={rule: getattr(keep, rule) + 1})
    kept = {ruling.point.id for ruling in decide_retention(points, keep, NOW).keep}
    assert kept <= {ruling.point.id for ruling in decide_retention(points, more, NOW).keep}


@given(point_lists(), keeps, st.sets(st.integers(0, 39)))
def test_knowing_of_damage_never_makes_a_point_go(points: list[Point], keep: KeepPolicy, hurt: set[int]) -> None:
    lost = {f"{number:064x}" for number in hurt}
    kept = {ruling.point.id for ruling in decide_retention(points, keep, NOW).keep}
    assert kept <= {ruling.point.id for ruling in decide_retention(points, keep, NOW, lost=lost).keep}


@given(point_lists(), keeps, st.sets(st.integers(0, 39)))
def test_whole_points_stay_as_if_the_lost_ones_were_not_there(
    points: list[Point], keep: KeepPolicy, hurt: set[int]
) -> None:
    lost = {f"{number:064x}" for number in hurt}
    whole = [point for point in points if point.id not in lost]
    alone = {ruling.point.id for ruling in decide_retention(whole, keep, NOW).keep}
    together = decide_retention(points, keep, NOW, lost=lost)
    assert alone <= {ruling.point.id for ruling in together.keep}
    again = decide_retention([ruling.point for ruling in together.keep], keep, NOW, lost=lost)
    assert not again.drop
