"""A promise is judged on the age of the data and on measured drills, never on a log line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from drbackup.model.objectives import PromiseState, data_instant, judge_rpo, judge_rto, judge_system_rpo

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_a_young_point_keeps_the_promise_an_older_one_is_at_risk_and_an_old_one_breaks_it() -> None:
    states = [judge_rpo(HOUR, NOW - timedelta(minutes=age), NOW).state for age in (10, 48, 49, 60, 61)]
    assert states == ["ok", "ok", "at-risk", "at-risk", "breached"]


def test_without_a_point_nothing_is_kept() -> None:
    judged = judge_rpo(HOUR, None, NOW)
    assert judged.state == PromiseState.NO_POINT
    assert not judged.kept
    assert judged.actual is None


def test_a_point_from_the_future_is_no_proof() -> None:
    judged = judge_rpo(HOUR, NOW + HOUR, NOW)
    assert judged.state == PromiseState.AT_RISK
    assert "clock" in judged.reason


def test_a_canary_older_than_the_pin_is_what_counts() -> None:
    pinned = NOW
    assert data_instant(pinned) == pinned
    assert data_instant(pinned, int((NOW - HOUR).timestamp()) * 10**9) == NOW - HOUR
    assert data_instant(pinned, int((NOW + HOUR).timestamp()) * 10**9) == pinned


def test_a_system_is_as_bad_as_its_worst_source() -> None:
    judged = judge_system_rpo(HOUR, {"a": NOW, "b": NOW - 3 * HOUR, "c": NOW - 2 * HOUR}, NOW)
    assert judged.state == PromiseState.BREACHED
    assert judged.reason.startswith("b: ")
    assert judge_system_rpo(HOUR, {"a": NOW - 3 * HOUR, "b": None}, NOW).state == PromiseState.NO_POINT
    assert judge_system_rpo(HOUR, {}, NOW).state == PromiseState.NO_POINT


def test_an_rto_is_only_proven_by_a_drill_and_an_old_drill_proves_less() -> None:
    yesterday = NOW - timedelta(days=1)
    assert judge_rto(HOUR, None, None, NOW).state == PromiseState.NO_POINT
    assert judge_rto(HOUR, HOUR / 2, yesterday, NOW).state == PromiseState.OK
    assert judge_rto(HOUR, HOUR * 0.9, yesterday, NOW).state == PromiseState.AT_RISK
    assert judge_rto(HOUR, HOUR * 2, yesterday, NOW).state == PromiseState.BREACHED
    assert judge_rto(HOUR, HOUR / 2, NOW - timedelta(days=90), NOW).state == PromiseState.AT_RISK
    assert judge_rto(HOUR, HOUR * 2, NOW - timedelta(days=90), NOW).state == PromiseState.BREACHED
