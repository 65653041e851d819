"""What happened in a drill so far, and from it the measurements that are judged and the statement that is signed.

No store, clock or catalog is read here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from drbackup import __version__
from drbackup.controller.drills.statement import CheckOutcome, DrillStatement, PhaseSpan, PointUsed, StatedRule
from drbackup.controller.restore.restore import LocatedPoint
from drbackup.errors import Failure
from drbackup.model import verdict
from drbackup.model.inventory import Inventory
from drbackup.model.point import DrilledPoint, Point
from drbackup.model.policy import Policy
from drbackup.model.verdict import DrillJudgement, Expectation, JudgedCheck, MeasuredCheck, Measurements, Restored
from drbackup.system.instants import from_ns
from drbackup.wire.messages import DrillResult, Measured, PhaseTime, RestoreResult
from drbackup.wire.specs import CheckSpec

_SCENARIOS = {
    "drill": "主机房全部损毁,仅凭异地副本恢复。 The machine room is lost; only the offsite copy is left.",
    "negative-drill": "途中破坏一个字节,验证须发现。 One byte is flipped on the way; the drill must find it.",
}


@dataclass(slots=True)
class DrillProgress:
    """What happened in a drill so far. Seconds count from the declaration."""

    id: str
    kind: str  # PLAIN_DRILL, NEGATIVE_DRILL
    policy: Policy
    planned_at: datetime
    declared_at: datetime
    selection: str = ""  # how points and store were chosen, in both languages
    store: str = ""  # the copy that is read; empty: each point's first copy
    damage: str = ""  # what a negative drill flipped
    offset: float = 0.0  # seconds from the declaration to the begin of the drill host's job
    result: DrillResult | None = None  # of the session with the newest points; None: there was none
    points: dict[DrilledPoint, Point] = field(default_factory=dict)  # all that were chosen
    located: dict[DrilledPoint, LocatedPoint] = field(default_factory=dict)  # those whose record was read
    failures: dict[DrilledPoint, Failure] = field(default_factory=dict)  # why a point was not restored
    phases: list[PhaseSpan] = field(default_factory=list)  # the controller's own, and those of ``older``
    older: dict[DrilledPoint, tuple[CheckSpec, DrillResult]] = field(default_factory=dict)  # each in its own session

    @property
    def next_number(self) -> int:
        """The number of the next check that is not the policy's own."""
        assert self.policy.drill is not None
        return len(self.policy.drill.checks) + len(self.older)

    @property
    def results(self) -> Iterator[DrillResult]:
        """The results of all sessions, the main one first."""
        if self.result is not None:
            yield self.result
        yield from (result for _, result in self.older.values())

    @property
    def restored(self) -> dict[DrilledPoint, RestoreResult]:
        return {DrilledPoint.read(label): each for result in self.results for label, each in result.restored.items()}

    @property
    def canaries(self) -> dict[DrilledPoint, int]:
        """The canary in each point's restored data, in ns since the epoch by the agent's clock."""
        return {DrilledPoint.read(label): ns for result in self.results for label, ns in result.canaries.items()}

    @property
    def measured(self) -> tuple[Measured, ...]:
        return tuple(each for result in self.results for each in result.measured)

    @property
    def wiped(self) -> bool:
        """Whether every sandbox was wiped, with proof. True for a drill without any session: it had no sandbox."""
        return all(result.wiped for result in self.results)

    def note_phase(self, source: str, phase: str, begin: float, end: float) -> None:
        """A phase of the controller's own is added. ``begin``, ``end``: seconds from the declaration."""
        self.phases.append(PhaseSpan(source, phase, round(begin, 3), round(end, 3)))

    def take_failures(self, result: DrillResult) -> None:
        """The points that the drill host could not restore are added, each with its reason."""
        self.failures.update({DrilledPoint.read(label): Failure.read(why) for label, why in result.failures.items()})

    def take_older(self, which: DrilledPoint, check: CheckSpec, result: DrillResult, begin: float) -> None:
        """The drawn older point's session is added. It began ``begin`` seconds after the declaration."""
        self.older[which] = (check, result)
        self.take_failures(result)
        self.phases.extend(_shifted(result.phases, begin, str(which)))


def measurements(so_far: DrillProgress) -> Measurements:
    """The measurements that the verdict is judged by."""
    return Measurements(
        declared_at=so_far.declared_at,
        restored=tuple(_restored(so_far)),
        checks=tuple(_checks(so_far)),
        seen=tuple(_seen(each) for each in so_far.measured),
        rto=_rto(so_far),
        wiped=so_far.wiped,
    )


def describe(so_far: DrillProgress, judgement: DrillJudgement, inventory: Inventory, ended: datetime) -> DrillStatement:
    """The statement that is signed."""
    policy = so_far.policy
    assert policy.drill is not None
    host = dict(so_far.result.host) if so_far.result else {}
    attribution = host.pop("attribution", "")
    scenario = _SCENARIOS[so_far.kind] + (f" ({so_far.damage})" if so_far.damage else "")
    return DrillStatement(
        id=so_far.id,
        kind=so_far.kind,
        scenario=scenario,
        city=inventory.title,
        system=policy.system,
        title=policy.title,
        department=policy.department,
        level=policy.level,
        time_zone=inventory.time_zone,
        planned_at=so_far.planned_at,
        declared_at=so_far.declared_at,
        ended_at=ended,
        verdict=str(judgement.verdict),
        promised_rto=policy.objectives.rto.total_seconds(),
        promised_rpo=policy.objectives.rpo.total_seconds(),
        measured_rto=_seconds(judgement.rto),
        measured_rpo=_seconds(judgement.rpo),
        selection=so_far.selection,
        agent=policy.drill.on,
        host=host,
        points=tuple(_point_used(so_far, which) for which in so_far.points),
        phases=tuple(_phases(so_far)),
        checks=tuple(_outcome(judged) for judged in judgement.checks),
        findings=tuple(
            StatedRule(str(reason.rule), reason.subject, reason.seen, reason.promised, reason.is_condition)
            for reason in judgement.reasons
        ),
        wiped=so_far.wiped and so_far.result is not None,
        wipe_proof="; ".join(result.wipe_proof for result in so_far.results),
        attribution=attribution,
        software=f"drbackup {__version__}",
    )


# --- what is judged --------------------------------------------------------------------------------------------------


def _restored(so_far: DrillProgress) -> Iterator[Restored]:
    for which in dict.fromkeys((*so_far.points, *so_far.failures)):
        point, located = so_far.points.get(which), so_far.located.get(which)
        facts = located.sealed.facts if located else None
        failure = _failure(so_far, which)
        if not failure and which not in so_far.restored:
            failure = "the drill host did not say that it was restored"
        noted = facts.canary_ns if facts else 0
        skew = facts.skew_ns if facts else 0
        yield Restored(
            source=str(which),
            pinned_at=point.pinned_at if point else so_far.declared_at,
            failure=failure,
            canary_at=_instant(so_far.canaries.get(which, 0), skew),
            canary_noted_at=_instant(noted, skew),
            newest=which.newest,
        )


def _failure(so_far: DrillProgress, which: DrilledPoint) -> str:
    """Why it was not restored, as it is judged and signed. Empty when no failure is known."""
    failure = so_far.failures.get(which)
    return failure.line if failure else ""


def _checks(so_far: DrillProgress) -> Iterator[verdict.AskedCheck]:
    assert so_far.policy.drill is not None
    for number, check in enumerate(so_far.policy.drill.checks):
        form = check.form
        source, other = (*(name for _, name in form.named), "")[:2]
        yield verdict.AskedCheck(number, form.kind, source, form.expectation(), form.query, other)
    for which, (asked, _) in so_far.older.items():
        yield verdict.AskedCheck(asked.number, asked.kind, str(which), Expectation(match=True))


def _seen(measured: Measured) -> MeasuredCheck:
    return MeasuredCheck(
        measured.number, measured.value, measured.expected, measured.compared, measured.wrong, measured.error
    )


def _rto(so_far: DrillProgress) -> timedelta | None:
    """The time from the declaration to the last check of the newest points.

    None when one of them was not restored: a recovery that did not happen has no length.
    """
    if so_far.result is None or any(which.newest for which in so_far.failures):
        return None
    done = [phase.end for phase in so_far.result.phases if phase.phase not in {"wipe"}]
    return timedelta(seconds=so_far.offset + max(done)) if done else None


def _instant(ns: int, skew_ns: int) -> datetime | None:
    """An agent's instant on the controller's clock; None for 0."""
    return from_ns(ns - skew_ns) if ns else None


# --- what is signed --------------------------------------------------------------------------------------------------


def _point_used(so_far: DrillProgress, which: DrilledPoint) -> PointUsed:
    point, located = so_far.points[which], so_far.located.get(which)
    facts = located.sealed.facts if located else None
    restored = so_far.restored.get(which)
    skew = facts.skew_ns if facts else 0
    return PointUsed(
        id=point.id,
        name=point.name,
        source=point.source,
        kind=point.kind,
        domain=point.domain,
        store=located.store.name if located else "",
        pinned_at=point.pinned_at,
        committed_at=point.committed_at,
        newest=which.newest,
        canary_at=_instant(so_far.canaries.get(which, 0), skew),
        canary_noted_at=_instant(facts.canary_ns, skew) if facts else None,
        entries=point.totals.entries,
        files=point.totals.files,
        rows=point.totals.rows,
        bytes=point.totals.bytes,
        restored_files=restored.files if restored else 0,
        restored_bytes=restored.content_bytes if restored else 0,
        failure=_failure(so_far, which),
        notes=restored.notes if restored else (),
    )


def _phases(so_far: DrillProgress) -> Iterator[PhaseSpan]:
    own = [phase for phase in so_far.phases if not phase.source]
    yield from own
    if so_far.result is not None:
        # From the end of locating the records to the begin of the job: reaching the drill host is part of the RTO.
        yield PhaseSpan("", "connect", max((phase.end for phase in own), default=0.0), round(so_far.offset, 3))
        yield from _shifted(so_far.result.phases, so_far.offset, "")
    yield from (phase for phase in so_far.phases if phase.source)


def _shifted(phases: tuple[PhaseTime, ...], offset: float, whole: str) -> Iterator[PhaseSpan]:
    for phase in phases:
        name = phase.source or whole
        yield PhaseSpan(name, phase.phase, round(phase.begin + offset, 3), round(phase.end + offset, 3))


def _outcome(judged: JudgedCheck) -> CheckOutcome:
    check, seen = judged.check, judged.seen
    expected = check.expectation.text
    if check.expectation.match and seen is not None and seen.expected:
        expected = seen.expected
    return CheckOutcome(
        number=check.number,
        kind=check.kind,
        source=check.source,
        other=check.other,
        query=check.query,
        expected=expected,
        seen=seen.value if seen else "",
        compared=seen.compared if seen else 0,
        wrong=seen.wrong if seen else (),
        passed=judged.passed,
        reason=judged.reason,
    )


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()
