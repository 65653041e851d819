"""A drill's verdict never flatters: each rule, one by one, and the order among them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from drbackup.model.verdict import (
    CONDITIONS,
    AskedCheck,
    BrokenRule,
    DrillJudgement,
    Expectation,
    MeasuredCheck,
    Measurements,
    Restored,
    Rule,
    Verdict,
    judge,
    judge_negative,
    not_run,
    text_digest,
)

DECLARED = datetime(2026, 11, 1, 3, 0, tzinfo=UTC)
RPO = timedelta(hours=1)
RTO = timedelta(hours=8)
COUNT = AskedCheck(1, "sql", "registry", Expectation(min=Decimal(1000)), query="select count(*) from enterprise")
FILES = AskedCheck(2, "files", "scans", Expectation(match=True))


def good() -> Measurements:
    """A drill that deserves 通过."""
    pinned = DECLARED - timedelta(minutes=20)
    return Measurements(
        declared_at=DECLARED,
        restored=(
            Restored("registry", pinned, canary_at=pinned, canary_noted_at=pinned),
            Restored("scans", pinned, canary_at=pinned - timedelta(minutes=2)),
        ),
        checks=(COUNT, FILES),
        seen=(MeasuredCheck(1, value="1234"), MeasuredCheck(2, value="40 files", expected="40 files", compared=40)),
        rto=timedelta(minutes=9),
        wiped=True,
    )


def rules(judgement: DrillJudgement) -> set[Rule]:
    return {reason.rule for reason in judgement.reasons}


def verdict_of(measured: Measurements) -> DrillJudgement:
    return judge(measured, rpo=RPO, rto=RTO)


def with_check(expectation: Expectation, seen: MeasuredCheck) -> DrillJudgement:
    check = AskedCheck(1, "sql", "registry", expectation)
    return verdict_of(replace(good(), checks=(check,), seen=(seen,)))


def test_a_drill_that_proves_everything_passes() -> None:
    judgement = verdict_of(good())
    assert judgement.verdict is Verdict.PASSED
    assert judgement.reasons == ()
    assert judgement.verdict.label_zh == "通过"
    assert judgement.proven == {"registry", "scans"}


def test_the_measured_rpo_is_the_oldest_canarys_age() -> None:
    assert verdict_of(good()).rpo == timedelta(minutes=22)


def test_a_drill_that_did_not_run_is_not_run_and_proves_nothing() -> None:
    judgement = not_run("drill1 is unreachable")
    assert judgement.verdict is Verdict.NOT_RUN
    assert judgement.verdict.label_zh == "未执行"
    assert not judgement.verdict.proves
    assert not judgement.proven


def test_one_source_that_was_not_restored_fails_the_drill() -> None:
    measured = good()
    broken = replace(measured.restored[0], failure="ObjectCorrupt", canary_at=None)
    judgement = verdict_of(replace(measured, restored=(broken, measured.restored[1])))
    assert judgement.verdict is Verdict.FAILED
    assert rules(judgement) == {Rule.NOT_RESTORED}
    assert judgement.proven == {"scans"}


def test_a_drill_over_nothing_fails() -> None:
    assert rules(verdict_of(replace(good(), restored=()))) >= {Rule.NO_SOURCE}
    assert verdict_of(replace(good(), restored=())).verdict is Verdict.FAILED


def test_without_any_check_a_drill_is_conditional_at_best() -> None:
    judgement = verdict_of(replace(good(), checks=(), seen=()))
    assert judgement.verdict is Verdict.CONDITIONAL
    assert judgement.proven == frozenset()


def test_a_check_without_an_answer_fails_the_drill() -> None:
    judgement = verdict_of(replace(good(), seen=(MeasuredCheck(1, value="1234"),)))
    assert judgement.verdict is Verdict.FAILED
    assert rules(judgement) == {Rule.CHECK_UNANSWERED}


def test_a_check_that_ended_in_an_error_fails_even_with_a_good_value() -> None:
    judgement = with_check(Expectation(min=Decimal(1)), MeasuredCheck(1, value="5", error="timeout"))
    assert rules(judgement) == {Rule.CHECK_ERROR}


@pytest.mark.parametrize(
    ("expectation", "value", "passes"),
    [
        (Expectation(min=Decimal(3)), "3", True),
        (Expectation(min=Decimal(3)), "2", False),
        (Expectation(min=Decimal(3)), "", False),
        (Expectation(min=Decimal(3)), "NaN", False),
        (Expectation(min=Decimal(3)), "many", False),
        (Expectation(max=Decimal(3)), "3", True),
        (Expectation(max=Decimal(3)), "3.01", False),
        (Expectation(min=Decimal(1), max=Decimal(3)), "2", True),
        (Expectation(min=Decimal(1), max=Decimal(3)), "9", False),
        (Expectation(equals="0"), "0.00", True),
        (Expectation(equals="0"), "1", False),
        (Expectation(equals="杭州"), text_digest("杭州"), True),
        (Expectation(equals="杭州"), text_digest("宁波"), False),
        (Expectation(), "5", False),
    ],
)
def test_a_value_is_held_against_the_policys_bounds(expectation: Expectation, value: str, passes: bool) -> None:
    judgement = with_check(expectation, MeasuredCheck(1, value=value))
    assert (judgement.verdict is Verdict.PASSED) == passes


@pytest.mark.parametrize(
    "seen",
    [
        MeasuredCheck(1, value="0 files", expected="0 files", compared=0),
        MeasuredCheck(1, value="39 files", expected="40 files", compared=40),
        MeasuredCheck(1, value="40 files", expected="40 files", compared=40, wrong=("ab12",)),
    ],
)
def test_a_match_needs_something_compared_and_no_difference(seen: MeasuredCheck) -> None:
    assert rules(with_check(Expectation(match=True), seen)) == {Rule.CHECK_MISMATCH}


def test_a_check_with_differences_fails_whatever_its_value_says() -> None:
    assert rules(with_check(Expectation(equals="0"), MeasuredCheck(1, value="0", wrong=("t1",)))) == {
        Rule.CHECK_MISMATCH
    }


def test_an_rto_over_the_promise_fails_and_one_exactly_on_it_does_not() -> None:
    assert rules(verdict_of(replace(good(), rto=RTO + timedelta(microseconds=1)))) == {Rule.RTO_EXCEEDED}
    assert verdict_of(replace(good(), rto=RTO)).verdict is Verdict.PASSED


def test_an_rto_that_was_not_measured_fails() -> None:
    judgement = verdict_of(replace(good(), rto=None))
    assert judgement.verdict is Verdict.FAILED


def test_an_rpo_over_the_promise_fails_however_young_the_point_is() -> None:
    measured = good()
    old = replace(measured.restored[1], canary_at=DECLARED - RPO - timedelta(seconds=1))
    judgement = verdict_of(replace(measured, restored=(measured.restored[0], old)))
    assert judgement.verdict is Verdict.FAILED
    assert rules(judgement) == {Rule.RPO_EXCEEDED}


def test_a_missing_canary_is_conditional_and_leaves_the_rpo_unmeasured() -> None:
    measured = good()
    silent = replace(measured.restored[1], canary_at=None)
    judgement = verdict_of(replace(measured, restored=(measured.restored[0], silent)))
    assert judgement.verdict is Verdict.CONDITIONAL
    assert judgement.reasons == (BrokenRule(Rule.CANARY_MISSING, "scans"),)
    assert judgement.rpo is None


def test_a_missing_canary_does_not_hide_a_point_that_is_too_old_anyway() -> None:
    measured = good()
    silent = replace(measured.restored[1], canary_at=None, pinned_at=DECLARED - RPO * 2)
    judgement = verdict_of(replace(measured, restored=(measured.restored[0], silent)))
    assert judgement.verdict is Verdict.FAILED
    assert rules(judgement) == {Rule.CANARY_MISSING, Rule.POINT_TOO_OLD}


def test_a_canary_older_than_the_points_own_record_fails() -> None:
    measured = good()
    stale = replace(measured.restored[0], canary_at=measured.restored[0].pinned_at - timedelta(seconds=1))
    judgement = verdict_of(replace(measured, restored=(stale, measured.restored[1])))
    assert rules(judgement) == {Rule.CANARY_STALE}
    assert judgement.verdict is Verdict.FAILED


def test_a_canary_from_the_future_is_a_finding() -> None:
    measured = good()
    ahead = replace(measured.restored[1], canary_at=DECLARED + timedelta(minutes=5))
    judgement = verdict_of(replace(measured, restored=(measured.restored[0], ahead)))
    assert judgement.verdict is Verdict.CONDITIONAL


def test_an_older_point_drawn_by_lot_is_not_held_against_the_rpo() -> None:
    measured = good()
    old = DECLARED - timedelta(days=40)
    drawn = Restored("registry@old", old, canary_at=old, newest=False)
    judgement = verdict_of(replace(measured, restored=(*measured.restored, drawn)))
    assert judgement.verdict is Verdict.PASSED
    assert judgement.rpo == timedelta(minutes=22)


def test_a_wipe_that_was_not_proven_is_a_condition() -> None:
    judgement = verdict_of(replace(good(), wiped=False))
    assert judgement.verdict is Verdict.CONDITIONAL
    assert rules(judgement) == {Rule.WIPE_UNPROVEN}


def test_an_across_check_that_fails_takes_the_proof_from_both_sources() -> None:
    across = AskedCheck(3, "across", "registry", Expectation(equals="0"), other="scans")
    measured = good()
    judgement = verdict_of(
        replace(measured, checks=(*measured.checks, across), seen=(*measured.seen, MeasuredCheck(3, value="2")))
    )
    assert judgement.proven == frozenset()


def test_a_negative_drill_passes_only_when_the_damage_was_found() -> None:
    measured = good()
    broken = replace(measured.restored[0], failure="ObjectCorrupt")
    caught = verdict_of(replace(measured, restored=(broken, measured.restored[1])))
    assert judge_negative(caught).verdict is Verdict.PASSED
    assert rules(judge_negative(verdict_of(measured))) == {Rule.NEGATIVE_PASSED}
    assert judge_negative(verdict_of(measured)).verdict is Verdict.FAILED
    assert judge_negative(not_run("no host")).verdict is Verdict.NOT_RUN


@given(
    minutes=st.integers(-100, 2000),
    canary=st.one_of(st.none(), st.integers(-100, 2000)),
    value=st.text(max_size=6),
    wiped=st.booleans(),
    failure=st.sampled_from(["", "lost"]),
)
def test_passed_means_no_reason_and_failed_means_a_reason_that_is_no_condition(
    minutes: int, canary: int | None, value: str, wiped: bool, failure: str
) -> None:
    measured = good()
    canary_at = None if canary is None else DECLARED - timedelta(minutes=canary)
    first = replace(measured.restored[0], canary_at=canary_at, failure=failure)
    judgement = verdict_of(
        replace(
            measured,
            restored=(first, measured.restored[1]),
            seen=(MeasuredCheck(1, value=value), measured.seen[1]),
            rto=timedelta(minutes=minutes),
            wiped=wiped,
        )
    )
    found = rules(judgement)
    assert (judgement.verdict is Verdict.PASSED) == (not found)
    assert (judgement.verdict is Verdict.CONDITIONAL) == (bool(found) and found <= CONDITIONS)
    assert (judgement.verdict is Verdict.FAILED) == bool(found - CONDITIONS)
    if failure or canary is None or canary > 60 or minutes > 480:
        assert judgement.verdict is not Verdict.PASSED
