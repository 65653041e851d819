"""The month's page counts what was so, and never flatters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.drills import Drill
from drbackup.model.point import Point, Totals
from drbackup.model.policy import Policy
from drbackup.reports import month as pages
from drbackup.reports import month_page
from drbackup.reports.gettext import speak
from drbackup.reports.month import SystemMonth
from tests.unit.reports.test_overview import PLACE, a_drill, a_policy

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
SHANGHAI = ZoneInfo("Asia/Shanghai")
SPAN = pages.Month("2026-11", NOW - timedelta(hours=10), NOW, whole=False)
LONG_AGO = NOW - timedelta(days=90)


def point(at: datetime) -> Point:
    return Point("ab" * 32, "v1/r/x", *PLACE, "d", "sqlite", at, at, Totals(stored_bytes=500))


def test_a_month_begins_and_ends_at_midnight_of_the_city() -> None:
    whole = pages.month_at("2026-10", SHANGHAI, NOW)
    assert whole.begin.astimezone(UTC) == datetime(2026, 9, 30, 16, tzinfo=UTC)
    assert whole.end.astimezone(UTC) == datetime(2026, 10, 31, 16, tzinfo=UTC)
    assert whole.whole
    assert pages.month_at("2026-11", SHANGHAI, NOW).end == NOW
    for wrong in ("2026-12", "november"):
        with pytest.raises(ValueError, match=r"begun|does not match"):
            pages.month_at(wrong, SHANGHAI, NOW)


def a_month(
    policy: Policy, points: Sequence[Point] = (), drills: Sequence[Drill] = (), **first: datetime
) -> SystemMonth:
    return pages.month_of(policy, pages.History([], points, drills, first), SPAN)


def shown(*systems: SystemMonth) -> month_page.Page:
    return month_page.Page("市", SPAN, pages.gaps_first(systems), SHANGHAI, NOW)


def test_time_within_the_rpo_is_the_time_some_point_was_young_enough() -> None:
    points = [point(NOW - timedelta(hours=hours)) for hours in (10, 9.5, 5)]
    report = a_month(a_policy(), points, registry=LONG_AGO)
    assert report.in_rpo == pytest.approx(0.25)  # 1.5 h behind the first two, 1 h behind the third
    assert report.worst.since == SPAN.begin


def test_the_time_before_the_first_point_is_not_counted_and_the_page_says_since_when() -> None:
    first = NOW - timedelta(minutes=30)
    report = a_month(a_policy(), [point(first)], registry=first)
    assert report.in_rpo == 1
    assert not report.gaps
    text = month_page.markdown(shown(report))
    assert "100.0% (since 2026-11-23 11:30)" in text
    assert month_page.document(shown(report))["systems"][0]["in_rpo_since"] == "2026-11-23T03:30:00.000Z"


def test_a_month_before_the_first_point_has_no_share() -> None:
    report = a_month(a_policy(), registry=NOW + timedelta(days=1))
    assert report.in_rpo is None
    assert "first protected 2026-11-24" in month_page.markdown(shown(report))


def test_a_system_without_a_point_is_a_gap_and_stands_first() -> None:
    good = a_month(a_policy(system="a", title="甲"), [point(SPAN.begin)], registry=SPAN.begin)
    bare = a_month(a_policy(system="b", title="乙"))
    assert (bare.in_rpo, bare.gaps) == (0, ("registry",))
    page = shown(good, bare)
    assert [each.policy.system for each in page.systems] == ["b", "a"]
    text = month_page.markdown(page)
    assert "GAP (no point yet: registry)" in text
    assert "**1 system is not protected**" in text
    assert month_page.document(page)["systems"][0]["gaps"] == ["registry"]


def test_one_source_without_a_point_makes_the_system_a_gap() -> None:
    sources = [{"name": name, "agent": "db1", "sqlite": {"path": f"/srv/{name}.db"}} for name in ("registry", "scans")]
    report = a_month(a_policy(sources=sources), [point(SPAN.begin)], registry=SPAN.begin)
    assert report.gaps == ("scans",)
    assert report.in_rpo == 0


def test_a_share_is_never_rounded_up_to_the_whole() -> None:
    policy = a_policy(objectives={"rpo": "9h59m59s", "rto": "8h"}, schedule={"every": "9h"})
    report = a_month(policy, [point(SPAN.begin)], registry=SPAN.begin)
    assert 0.9999 < (report.in_rpo or 0) < 1
    assert "99.9%" in month_page.markdown(shown(report))


def test_a_page_escapes_and_says_what_was_not_drilled() -> None:
    bare = a_month(a_policy(title="<b>|库"))
    assert "&lt;b&gt;" in month_page.html(shown(bare))
    text = month_page.markdown(shown(bare))
    assert "\\|库" in text
    assert "not run" in text
    drilled = a_month(a_policy(), [], [a_drill(timedelta(days=1))])
    assert drilled.rto_measured == 60


def test_the_page_speaks_the_readers_language_and_needs_nothing_from_anywhere() -> None:
    speak("zh_CN")
    try:
        text = month_page.html(shown(a_month(a_policy())))
    finally:
        speak("en")
    assert '<html lang="zh-CN">' in text
    assert "缺口" in text
    assert "--ink" in text  # the drill report's own style
    assert "http" not in text


def test_a_point_damaged_in_every_copy_covers_nothing_and_is_named() -> None:
    lost = replace(point(SPAN.begin), id="cd" * 32)
    points = [lost, point(NOW - timedelta(hours=5))]
    policy = a_policy(objectives={"rpo": "5h", "rto": "8h"})
    history = pages.History([], points, [], {"registry": LONG_AGO}, frozenset({lost.id}))
    report = pages.month_of(policy, history, SPAN)
    assert report.in_rpo == pytest.approx(0.5)  # both: all of the time
    assert report.damaged == 1
    page = shown(report)
    assert month_page.document(page)["systems"][0]["damaged_points"] == 1
    text = month_page.markdown(page)
    assert "50.0% (1 point damaged in every copy)" in text
    assert "does not count" in text
    assert "short of its promises" in text


def test_the_month_asks_the_catalog_which_points_are_lost(tmp_path: Path) -> None:
    with Catalog.open(tmp_path / "catalog.sqlite") as catalog:
        committed = replace(point(SPAN.begin), copies=("offsite",))
        catalog.points.add(committed, session="s")
        policy = a_policy()
        assert pages.month_of(policy, pages.recall_month(catalog, policy, SPAN), SPAN).damaged == 0
        catalog.scrubs.judge("offsite", {committed.id: -1}, now=NOW)
        report = pages.month_of(policy, pages.recall_month(catalog, policy, SPAN), SPAN)
        assert (report.damaged, report.in_rpo) == (1, 0)
