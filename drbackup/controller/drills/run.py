"""One drill: from the declaration to signed evidence. No drill ends without evidence.

Order:

1. The drill's row is in the catalog before anything is read.
2. Points and copy are chosen.
3. The drill host restores, checks and wipes.
4. The verdict is judged, and points climb the ladder by what was proven.
5. The evidence is signed, written and published.
6. The catalog's row is closed.

When the controller is killed before step 5, a drill without a verdict is left. :func:`close_abandoned` then writes the
evidence of a drill that was not run.

The clock runs from the declaration: finding records, connecting and waiting count towards the RTO. The wipe does not.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from drbackup.controller.catalog.drills import NEGATIVE_DRILL, PLAIN_DRILL, Drill
from drbackup.controller.drills.negative import damaged
from drbackup.controller.drills.record import DrillProgress, describe, measurements
from drbackup.controller.drills.replay import finding_line
from drbackup.controller.drills.selection import select
from drbackup.controller.drills.statement import encode
from drbackup.controller.evidence import Evidence, chain_head, write_evidence
from drbackup.controller.home.installation import Installation
from drbackup.controller.restore.restore import LocatedPoint, locate, readable_packs, unsealing_key
from drbackup.controller.runs.agent import Connector, agent_access
from drbackup.controller.runs.agent_requests import Listeners, ReadingRequests, no_news
from drbackup.controller.runs.specs import checks as wire_checks
from drbackup.controller.runs.specs import limits
from drbackup.errors import DrbackupError, Failure, Interrupted, UsageError, say
from drbackup.model.point import DrilledPoint, Point, Rung
from drbackup.model.policy import Policy
from drbackup.model.sources.kinds import whole_check
from drbackup.model.verdict import BrokenRule, DrillJudgement, JudgedCheck, Verdict, judge, judge_negative, not_run
from drbackup.system.file_lock import try_file_lock
from drbackup.vault.layout import timestamp
from drbackup.wire.messages import DrillJob, DrillResult, Note, Progress
from drbackup.wire.specs import CheckSpec

Clock = Callable[[], datetime]


class DrillOptions(msgspec.Struct, frozen=True):
    """The choices of a caller for one drill."""

    due: datetime | None = None  # when it was planned; None: now
    point_choice: str = ""  # latest, the beginning of an id, an ISO time; empty: latest
    store: str = ""  # the copy to restore from; empty: drawn by lot
    negative: bool = False  # a byte is flipped on the way: the drill must find it
    on_progress: Callable[[Progress], None] | None = None  # called from the session's threads; must be quick
    on_note: Callable[[Note], None] | None = None
    stop: threading.Event | None = None  # set it to end the drill cleanly
    connect: Connector | None = None  # another way to the drill host than the inventory's


_USUAL = DrillOptions()


class DrillOutcome(msgspec.Struct, frozen=True):
    """How a drill ended."""

    id: str
    system: str
    verdict: Verdict
    reasons: tuple[BrokenRule, ...]
    checks: tuple[JudgedCheck, ...]
    rto: timedelta | None  # measured; None: not every newest point was restored
    rpo: timedelta | None  # measured; None: it could not be
    evidence: Evidence  # the signed object; the reports write the readable page beside it

    @property
    def evidence_id(self) -> str:
        return self.evidence.id

    @property
    def statement_path(self) -> Path:
        return self.evidence.statement_path

    @property
    def report_path(self) -> Path:
        return self.evidence.report_path

    def __str__(self) -> str:
        return f"{self.verdict.label_zh} ({self.verdict}) evidence {self.evidence.sequence} {self.evidence.id[:12]}"


def run_drill(installation: Installation, system: str, options: DrillOptions = _USUAL, *, now: Clock) -> DrillOutcome:
    """How a system's drill on its policy's drill host ended; its evidence is written in every case.

    ``now``: the controller's clock, aware. A failed drill is an outcome, not an error. Raises :class:`UsageError` for a
    system without a drill in its policy. Raises :class:`Interrupted` when it was stopped, after writing its evidence.
    """
    policy = installation.policy(system)
    if policy.drill is None:
        raise UsageError(say("{system}'s policy has no drill", system=system), hint="add drill: to the policy")
    return _DrillRun(installation, policy, options, now).run()


def close_abandoned(installation: Installation, *, now: Clock) -> list[DrillOutcome]:
    """The drills whose controller died, now closed with the evidence of a drill that was not run.

    Drills of a process that still runs are not touched.
    """
    closed = []
    for row in installation.catalog.drills.under_way():
        policy = installation.policies.policies.get(row.system)
        if policy is None or policy.drill is None:
            continue
        with _alive(installation, row.id) as ours:
            if ours and installation.catalog.drills.get(row.id).ended_at is None:
                run = _DrillRun(installation, policy, DrillOptions(due=row.planned_at), now, row)
                closed.append(run.close(not_run("the controller died during the drill")))
    return closed


@contextmanager
def _alive(installation: Installation, drill: str) -> Iterator[bool]:
    """Whether this process now holds the drill's file lock, which is released when a process ends in any way."""
    folder = installation.evidence_folder / ".running"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = try_file_lock(folder / drill)
    if lock is None:
        yield False
        return
    try:
        yield True
    finally:
        lock.release(remove=True)


class _DrillRun:
    """One drill under way."""

    def __init__(
        self, installation: Installation, policy: Policy, options: DrillOptions, now: Clock, row: Drill | None = None
    ) -> None:
        assert policy.drill is not None
        self._installation = installation
        self._policy = policy
        self._options = options
        self._now = now
        self._stop = options.stop or threading.Event()
        self._seed = chain_head(installation.evidence_folder).digest
        declared = row.started_at if row else self._now()
        self._begun = time.monotonic()
        self._so_far = DrillProgress(
            id=row.id if row else f"{timestamp(declared)}-{policy.system}-{secrets.token_hex(4)}",
            kind=NEGATIVE_DRILL if options.negative else PLAIN_DRILL,
            policy=policy,
            planned_at=options.due or declared,
            declared_at=declared,
        )

    def run(self) -> DrillOutcome:
        with _alive(self._installation, self._so_far.id):
            self._installation.catalog.drills.begin(self._row())
            return self._to_its_end()

    def _to_its_end(self) -> DrillOutcome:
        so_far = self._so_far
        try:
            judgement = self._drill()
        except Interrupted as stopped:
            self.close(not_run(f"interrupted: {stopped.message}"))
            raise
        except DrbackupError as failure:
            judgement = not_run(Failure.of(failure).line)
        except BaseException as crash:
            self.close(not_run(f"broken off: {type(crash).__name__}"))
            raise
        if so_far.kind == NEGATIVE_DRILL:
            judgement = judge_negative(judgement)
        else:
            self._climb(judgement)
        return self.close(judgement)

    def close(self, judgement: DrillJudgement) -> DrillOutcome:
        """The outcome, after its evidence was signed, written and published and the catalog's row closed."""
        so_far, ended = self._so_far, self._now()
        document = describe(so_far, judgement, self._installation.inventory, ended)
        evidence = write_evidence(self._installation, encode(document), subject=so_far.kind, when=ended)
        self._installation.catalog.drills.end(self._row(judgement, evidence, ended))
        return DrillOutcome(
            id=so_far.id,
            system=self._policy.system,
            verdict=judgement.verdict,
            reasons=judgement.reasons,
            checks=judgement.checks,
            rto=judgement.rto,
            rpo=judgement.rpo,
            evidence=evidence,
        )

    # --- the drill itself ---

    def _drill(self) -> DrillJudgement:
        so_far, policy = self._so_far, self._policy
        catalog = self._installation.catalog
        which, store = self._options.point_choice or "latest", self._options.store
        selection = select(catalog, policy, self._seed, which=which, store=store)
        so_far.selection, so_far.store = selection.said, selection.store
        so_far.failures.update({DrilledPoint(source): why for source, why in selection.missing.items()})
        if not selection.newest:
            return not_run("; ".join(why.message for why in selection.missing.values()))
        found = self._locate(selection.newest)
        if so_far.kind == NEGATIVE_DRILL and found:
            found, so_far.damage = damaged(
                found, self._installation.keyring, self._seed or self._policy.system.encode()
            )
        so_far.note_phase("", "locate", 0.0, self._elapsed())
        if found:
            self._take(self._session(found, wire_checks(policy)), self._elapsed())
        if selection.older is not None and so_far.kind == PLAIN_DRILL:
            self._restore_older(selection.older)
        objectives = policy.objectives
        return judge(measurements(so_far), rpo=objectives.rpo, rto=objectives.rto)

    def _locate(self, points: dict[str, Point]) -> list[LocatedPoint]:
        """The points' records, read from the store alone. A record that can't be read is its source's failure."""
        found = []
        for source, point in points.items():
            so_far = self._so_far
            which = DrilledPoint(source)
            so_far.points[which] = point
            store = so_far.store or (point.copies[0] if point.copies else "")
            try:
                located = locate(self._installation, point, store)
            except DrbackupError as failure:
                so_far.failures[which] = Failure.of(failure)
                continue
            so_far.located[which] = located
            found.append(located)
        return found

    def _session(self, found: list[LocatedPoint], checks: tuple[CheckSpec, ...], label: str = "") -> DrillResult:
        assert self._policy.drill is not None
        agent = agent_access(self._installation, self._policy.drill.on, self._options.connect)
        job = DrillJob(
            drill=self._so_far.id,
            points=tuple(each.reference(label) for each in found),
            checks=checks,
            key=unsealing_key(self._installation, None),
            limits=limits(agent.entry),
            sandbox=agent.entry.sandbox,
        )
        listeners = Listeners(progress=self._options.on_progress or no_news, note=self._options.on_note or no_news)
        return agent.run(job, ReadingRequests(readable_packs(found), listeners, relay=agent.relay), self._stop)

    def _take(self, result: DrillResult, ended: float) -> None:
        """Keeps the session's result. Its phases count from the begin of the agent's job.

        ``ended``: seconds from the declaration to the arrival of the result.
        """
        so_far = self._so_far
        length = max((phase.end for phase in result.phases), default=0.0)
        so_far.result = result
        so_far.offset = max(ended - length, 0.0)  # the result's way back is counted in, never left out
        so_far.take_failures(result)

    def _restore_older(self, point: Point) -> None:
        """Restores the drawn older point in a session of its own, so that it does not lengthen the measured RTO."""
        so_far = self._so_far
        which = DrilledPoint(point.source, point.short)
        label = str(which)
        so_far.points[which] = point
        store = so_far.store if so_far.store in point.copies else point.copies[0] if point.copies else ""
        try:
            located = locate(self._installation, point, store)
            so_far.located[which] = located
            check = CheckSpec(so_far.next_number, whole_check(point.kind), label)
            begin = self._elapsed()
            so_far.take_older(which, check, self._session([located], (check,), label), begin)
        except Interrupted:
            raise
        except DrbackupError as failure:
            so_far.failures[which] = Failure.of(failure)

    def _climb(self, judgement: DrillJudgement) -> None:
        """Points climb the ladder by what was proven on them, even when the drill as a whole broke a promise."""
        points, now = self._installation.catalog.points, self._now()
        for which, point in self._so_far.points.items():
            if which in self._so_far.failures or which not in self._so_far.restored:
                continue
            rung = Rung.APP_CHECKED if str(which) in judgement.proven else Rung.RESTORED
            points.climb(point.id, rung, now=now)

    # --- the catalog's row ---

    def _row(
        self, judgement: DrillJudgement | None = None, evidence: Evidence | None = None, ended: datetime | None = None
    ) -> Drill:
        assert self._policy.drill is not None
        so_far = self._so_far
        return Drill(
            id=so_far.id,
            system=self._policy.system,
            kind=so_far.kind,
            planned_at=so_far.planned_at,
            started_at=so_far.declared_at,
            ended_at=ended,
            verdict=str(judgement.verdict) if judgement else "",
            host=self._policy.drill.on,
            points=tuple(point.id for point in so_far.points.values()),
            evidence=evidence.id if evidence else "",
            rto_seconds=judgement.rto.total_seconds() if judgement and judgement.rto else None,
            rpo_seconds=judgement.rpo.total_seconds() if judgement and judgement.rpo else None,
            findings=tuple(_line(reason) for reason in judgement.reasons) if judgement else (),
        )

    def _elapsed(self) -> float:
        return time.monotonic() - self._begun


def _line(reason: BrokenRule) -> str:
    return finding_line(str(reason.rule), reason.subject, reason.seen, reason.promised)
