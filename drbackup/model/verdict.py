"""A drill's verdict, from what was measured and what was promised.

Pure: measurements, promises and instants come in, a :class:`DrillJudgement` with every reason goes out. The rules are
few, and each has one name (:class:`Rule`), from which a report says in two languages why a drill ended so:

* What was not measured is not proven, and what is not proven has failed.
* A missing canary leaves the RPO unproven by data: 有条件通过 (passed with conditions) at best.
* A promise (RTO, RPO) that was not kept is 未通过 (failed), however good the copy is.
* A drill that did not run is 未执行 (not run) and counts as failed.

Figures are compared as measured, never rounded.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation

import msgspec


class Verdict(enum.StrEnum):
    """How a drill ended."""

    PASSED = "passed"
    CONDITIONAL = "conditional"
    FAILED = "failed"
    NOT_RUN = "not-run"

    @property
    def label_zh(self) -> str:
        """The verdict in Chinese, as drill reports have it."""
        return _LABELS[self]

    @property
    def proves(self) -> bool:
        """Whether points become app-checked by this verdict: not when the drill failed or did not run."""
        return self in {Verdict.PASSED, Verdict.CONDITIONAL}


_LABELS = {
    Verdict.PASSED: "通过",
    Verdict.CONDITIONAL: "有条件通过",
    Verdict.FAILED: "未通过",
    Verdict.NOT_RUN: "未执行",
}


class Rule(enum.StrEnum):
    """The rules that a drill can break. The values are stable, because they stand in signed evidence."""

    NOT_STARTED = "not-started"
    NO_SOURCE = "no-source"
    NOT_RESTORED = "not-restored"
    NO_CHECK = "no-check"
    CHECK_UNANSWERED = "check-unanswered"
    CHECK_ERROR = "check-error"
    CHECK_MISMATCH = "check-mismatch"
    RTO_UNMEASURED = "rto-unmeasured"
    RTO_EXCEEDED = "rto-exceeded"
    RPO_EXCEEDED = "rpo-exceeded"
    POINT_TOO_OLD = "point-too-old"
    CANARY_MISSING = "canary-missing"
    CANARY_STALE = "canary-stale"
    CANARY_IN_FUTURE = "canary-in-future"
    WIPE_UNPROVEN = "wipe-unproven"
    NEGATIVE_PASSED = "negative-passed"


CONDITIONS = frozenset({Rule.NO_CHECK, Rule.CANARY_MISSING, Rule.CANARY_IN_FUTURE, Rule.WIPE_UNPROVEN})
"""Findings that leave the copy's goodness standing. Every other rule fails the drill."""


class BrokenRule(msgspec.Struct, frozen=True):
    """One broken rule, with its figures."""

    rule: Rule
    subject: str = ""  # a source, or a check's number and source; empty: the whole drill
    seen: str = ""  # what was measured, as text
    promised: str = ""  # what it should have been, as text

    @property
    def is_condition(self) -> bool:
        """Whether it leaves the verdict at "passed with conditions"."""
        return self.rule in CONDITIONS


class Expectation(msgspec.Struct, frozen=True):
    """What a policy expects of a check's result."""

    equals: str | None = None  # exactly this value; None: any
    min: Decimal | None = None  # at least; None: no limit
    max: Decimal | None = None  # at most; None: no limit
    match: bool = False  # the measured and the expected figure must be equal, with no difference at all

    @property
    def text(self) -> str:
        """The expectation for a person: ``= 3``, ``1000 … 2000``, ``match``."""
        if self.match:
            return "match"
        if self.equals is not None:
            return f"= {self.equals}"
        if self.min is not None and self.max is not None:
            return f"{self.min} … {self.max}"
        return f"≥ {self.min}" if self.min is not None else f"≤ {self.max}"


class AskedCheck(msgspec.Struct, frozen=True):
    """One check as the policy asks it."""

    number: int  # from 0, as in the policy; people are shown one more
    kind: str  # as a policy names it
    source: str
    expectation: Expectation
    query: str = ""  # what that kind asks, in its own form, like an SQL query
    other: str = ""  # the second source, for a kind that looks at one


class MeasuredCheck(msgspec.Struct, frozen=True):
    """One check as measured on the restored copy."""

    number: int  # the check's, from 0
    value: str = ""  # a count or an SQL result, as text
    expected: str = ""  # the figure to compare with, where the agent knows it
    compared: int = 0  # things compared
    wrong: tuple[str, ...] = ()  # differences, by hash or table name, never by content
    error: str = ""  # why it could not be measured


class JudgedCheck(msgspec.Struct, frozen=True):
    """A check with its answer, and whether it passed."""

    check: AskedCheck
    seen: MeasuredCheck | None  # None: no answer came
    passed: bool
    reason: str = ""  # why it did not pass


class Restored(msgspec.Struct, frozen=True):
    """One point of the drill. Instants are aware UTC by the controller's clock: the agent's skew is taken out."""

    source: str
    pinned_at: datetime
    failure: str = ""  # why it was not restored; empty: it was
    canary_at: datetime | None = None  # found inside the restored data
    canary_noted_at: datetime | None = None  # the canary that was written before the pin, by the point's own facts
    newest: bool = True  # it stands for the RPO; an older point, chosen at random, must only be whole


class Measurements(msgspec.Struct, frozen=True):
    """Everything that was measured in a drill that ran."""

    declared_at: datetime
    restored: Sequence[Restored]
    checks: Sequence[AskedCheck]
    seen: Sequence[MeasuredCheck]
    rto: timedelta | None  # from the declaration to the end of the last check; None: not measured
    wiped: bool  # nothing of the sandbox is left


class DrillJudgement(msgspec.Struct, frozen=True):
    """The verdict on a drill, with all its reasons."""

    verdict: Verdict
    reasons: tuple[BrokenRule, ...]
    checks: tuple[JudgedCheck, ...] = ()
    rto: timedelta | None = None  # as measured
    rpo: timedelta | None = None  # the oldest canary's age at the declaration; None: a canary is missing
    proven: frozenset[str] = frozenset()  # sources restored whole, with every check on them passed


def not_run(why: str) -> DrillJudgement:
    """The judgement on a drill that could not start, or whose host was lost before it measured anything."""
    return DrillJudgement(Verdict.NOT_RUN, (BrokenRule(Rule.NOT_STARTED, seen=why),))


def judge(measured: Measurements, *, rpo: timedelta, rto: timedelta) -> DrillJudgement:
    """The verdict on a drill that ran, against the promised ``rpo`` and ``rto``."""
    checks = tuple(_judge_checks(measured.checks, measured.seen))
    reasons = [
        *_restore_reasons(measured.restored),
        *_check_reasons(checks),
        *_rto_reasons(measured.rto, rto),
        *_rpo_reasons(measured, rpo),
    ]
    if not measured.wiped:
        reasons.append(BrokenRule(Rule.WIPE_UNPROVEN))
    verdict = Verdict.PASSED
    if reasons:
        verdict = Verdict.CONDITIONAL if all(reason.is_condition for reason in reasons) else Verdict.FAILED
    return DrillJudgement(
        verdict, tuple(reasons), checks, measured.rto, measured_rpo(measured), _proven(measured.restored, checks)
    )


def judge_negative(inner: DrillJudgement) -> DrillJudgement:
    """The judgement on a drill over a deliberately damaged copy: it passes only when the damage was found.

    ``inner`` is the judgement on what was restored. It must have failed by a restore or a check. Else drills prove
    nothing, because they do not see damage.
    """
    caught = {Rule.NOT_RESTORED, Rule.CHECK_ERROR, Rule.CHECK_MISMATCH}
    if any(reason.rule in caught for reason in inner.reasons):
        return DrillJudgement(Verdict.PASSED, (), inner.checks, inner.rto)
    if inner.verdict is Verdict.NOT_RUN:
        return inner
    return DrillJudgement(Verdict.FAILED, (BrokenRule(Rule.NEGATIVE_PASSED),), inner.checks, inner.rto)


def measured_rpo(measured: Measurements) -> timedelta | None:
    """The time from the oldest canary to the declaration, over the newest points; None when a canary is missing."""
    ages: list[timedelta] = []
    for restored in measured.restored:
        if not restored.newest:
            continue
        if restored.canary_at is None:
            return None
        ages.append(measured.declared_at - restored.canary_at)
    return max(ages, default=None)


def text_digest(text: str) -> str:
    """The SHA-256 of a text result, as it crosses the wire: the text itself may name a person."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _restore_reasons(restored: Sequence[Restored]) -> list[BrokenRule]:
    if not restored:
        return [BrokenRule(Rule.NO_SOURCE)]
    return [BrokenRule(Rule.NOT_RESTORED, one.source, one.failure) for one in restored if one.failure]


def _judge_checks(checks: Sequence[AskedCheck], seen: Sequence[MeasuredCheck]) -> list[JudgedCheck]:
    answers = {answer.number: answer for answer in seen}
    judged: list[JudgedCheck] = []
    for check in checks:
        answer = answers.get(check.number)
        wrong = "no answer" if answer is None else _difference(check.expectation, answer)
        judged.append(JudgedCheck(check, answer, not wrong, wrong))
    return judged


def _difference(expectation: Expectation, seen: MeasuredCheck) -> str:
    """The reason why ``seen`` does not meet ``expectation``; empty when it does."""
    if seen.error:
        return seen.error
    if seen.wrong:
        return f"{len(seen.wrong)} difference(s)" if expectation.match else f"wrong: {', '.join(seen.wrong)}"
    if expectation.match:
        return _match_difference(seen)
    if expectation.equals is not None and not _same(seen.value, expectation.equals):
        return f"{seen.value or 'nothing'} is not {expectation.equals}"
    if expectation.min is None and expectation.max is None:
        return "" if expectation.equals is not None else "the check expects nothing, so nothing is proven"
    return _bounds_difference(expectation, seen.value)


def _match_difference(seen: MeasuredCheck) -> str:
    if seen.compared == 0:
        return "nothing was compared"
    return "" if seen.value == seen.expected else f"{seen.value} is not {seen.expected}"


def _bounds_difference(expectation: Expectation, value: str) -> str:
    number = _number(value)
    if number is None:
        return "the result is not a number"
    if expectation.min is not None and number < expectation.min:
        return f"{number} is below {expectation.min}"
    if expectation.max is not None and number > expectation.max:
        return f"{number} is above {expectation.max}"
    return ""


def _same(value: str, equals: str) -> bool:
    """Whether both are equal: as numbers, as plain text, or as the digest of the expected text."""
    left, right = _number(value), _number(equals)
    if left is not None and right is not None:
        return left == right
    return value in {equals, text_digest(equals)}


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _check_reasons(checks: Sequence[JudgedCheck]) -> list[BrokenRule]:
    if not checks:
        return [BrokenRule(Rule.NO_CHECK)]
    reasons: list[BrokenRule] = []
    for judged in checks:
        if judged.passed:
            continue
        subject = f"#{judged.check.number + 1} {judged.check.source}"
        if judged.seen is None:
            rule = Rule.CHECK_UNANSWERED
        else:
            rule = Rule.CHECK_ERROR if judged.seen.error else Rule.CHECK_MISMATCH
        reasons.append(BrokenRule(rule, subject, judged.reason, judged.check.expectation.text))
    return reasons


def _rto_reasons(seen: timedelta | None, promised: timedelta) -> list[BrokenRule]:
    if seen is None:
        return [BrokenRule(Rule.RTO_UNMEASURED, promised=str(promised))]
    return [BrokenRule(Rule.RTO_EXCEEDED, seen=str(seen), promised=str(promised))] if seen > promised else []


def _rpo_reasons(measured: Measurements, promised: timedelta) -> list[BrokenRule]:
    reasons: list[BrokenRule] = []
    for one in measured.restored:
        if one.failure:
            continue  # nothing was restored, so there is no canary; that failure is a reason already
        reasons.extend(_canary_reasons(one, measured.declared_at, promised))
    return reasons


def _canary_reasons(one: Restored, declared_at: datetime, promised: timedelta) -> list[BrokenRule]:
    """The rules that one restored copy's canary breaks."""
    if one.canary_at is None:
        reasons = [BrokenRule(Rule.CANARY_MISSING, one.source)]
        # Data is never newer than the instant it was pinned at, so a pin older than the promise proves the failure.
        age = declared_at - one.pinned_at
        if one.newest and age > promised:
            reasons.append(BrokenRule(Rule.POINT_TOO_OLD, one.source, str(age), str(promised)))
        return reasons
    if one.canary_noted_at is not None and one.canary_at < one.canary_noted_at:
        # The canary is written before the pin. An older one than the record says means that another state was copied.
        return [BrokenRule(Rule.CANARY_STALE, one.source, one.canary_at.isoformat(), one.canary_noted_at.isoformat())]
    if not one.newest:
        return []
    if one.canary_at > declared_at:
        return [BrokenRule(Rule.CANARY_IN_FUTURE, one.source, one.canary_at.isoformat(), declared_at.isoformat())]
    age = declared_at - one.canary_at
    return [BrokenRule(Rule.RPO_EXCEEDED, one.source, str(age), str(promised))] if age > promised else []


def _proven(restored: Sequence[Restored], checks: Sequence[JudgedCheck]) -> frozenset[str]:
    """The restored sources with at least one check and none that failed. An across check counts for both sources."""
    good: set[str] = set()
    bad = {one.source for one in restored if one.failure}
    for judged in checks:
        ends = {judged.check.source, judged.check.other} - {""}
        (good if judged.passed else bad).update(ends)
    return frozenset(good & {one.source for one in restored} - bad)
