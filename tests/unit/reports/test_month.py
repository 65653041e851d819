"""The month's page counts what was so, and never flatters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from drbackup.model.point import Point, Totals
from drbackup.reports import month as pages
from tests.unit.reports.test_estate import PLACE, a_drill, a_policy

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
SHANGHAI = ZoneInfo("Asia/Shanghai")


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


def test_time_within_the_rpo_is_the_time_some_point_was_young_enough() -> None:
    span = pages.Month("x", NOW - timedelta(hours=10), NOW, whole=False)
    points = [point(NOW - timedelta(hours=hours)) for hours in (10, 9.5, 5)]
    report = pages.month_of(a_policy(), pages.History([], points, []), span)
    assert report.in_rpo == pytest.approx(0.25)  # 1.5 h behind the first two, 1 h behind the third
    assert pages.month_of(a_policy(), pages.History([], [], []), span).in_rpo == 0


def test_a_page_escapes_and_says_what_was_not_drilled() -> None:
    span = pages.month_at("2026-11", SHANGHAI, NOW)
    bare = pages.month_of(a_policy(title="<b>|库"), pages.History([], [], []), span)
    assert "&lt;b&gt;" in pages.html("市", span, [bare], SHANGHAI)
    text = pages.markdown("市", span, [bare], SHANGHAI)
    assert "\\|库" in text
    assert "not run" in text
    drilled = pages.month_of(a_policy(), pages.History([], [], [a_drill(timedelta(days=1))]), span)
    assert drilled.rto_measured == 60
