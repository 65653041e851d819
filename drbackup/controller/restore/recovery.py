"""The recovery of systems in the order of their dependencies, and its resumption after it was interrupted.

The systems of one wave are restored at the same time, one wave after the other. Every step is durable in the catalog
before it begins and when it ends. So a recovery that is run again with the same plan repeats nothing that was finished.
A step that was under way is done again; the restore itself does not fetch again what it finished. A system is not begun
when one that it depends on was not restored. Systems that do not depend on that one go on.

Nothing is written without ``apply``. The clock of every promised RTO runs from the declaration.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from drbackup.controller.catalog.recoveries import Recovery, RecoveryStep
from drbackup.controller.evidence import Evidence, write_evidence
from drbackup.controller.home.installation import Installation
from drbackup.controller.restore.recovery_plan import (
    PreflightLine,
    RecoveryPlan,
    SourceStep,
    SystemStep,
    plan_recovery,
    preflight,
    target_of,
)
from drbackup.controller.restore.restore import RestoreOptions, restore_point
from drbackup.controller.runs.agent import Connector
from drbackup.errors import DrbackupError, Failure, Interrupted, PointMissing, say
from drbackup.model.point import SourceName
from drbackup.vault.layout import timestamp
from drbackup.wire.messages import Progress

__all__ = ["RecoveryOutcome", "RecoveryPlan", "SystemOutcome", "plan_recovery", "preflight", "run_recovery"]

Clock = Callable[[], datetime]
WAITING, RUNNING, DONE, FAILED, HELD_BACK = "waiting", "running", "done", "failed", "held-back"
_AT_ONCE = 4  # systems of one wave
RESUMABLE = timedelta(days=3)
"""How long after its last step an interrupted recovery is resumed.

Later, the same plan may mean a second disaster: the restored data was lost too, and all must be restored again.
"""


class RecoveryOptions(msgspec.Struct, frozen=True):
    """The choices of a caller for one recovery."""

    apply: bool = False  # false: only the preflight is made
    target_folder: Path | None = None  # below this folder on this machine; None: where the sources live
    replace: bool = False  # existing data may be replaced
    fresh: bool = False  # begin again, even if an earlier recovery could be resumed
    key: bytes | None = None  # an unsealing key's seed; None: the drill key while it lies in the home
    declared_at: datetime | None = None  # when the disaster was declared; None: now, or the resumed recovery's
    on_progress: Callable[[str, Progress], None] | None = None  # (system/source, its progress), from several threads
    on_step: Callable[[str, str], None] | None = None  # (system/source, its new state), from several threads
    stop: threading.Event | None = None  # set it to end the recovery cleanly
    connect: Connector | None = None  # another way to the agents than the inventory's


_USUAL = RecoveryOptions()


class SystemOutcome(msgspec.Struct, frozen=True):
    """How the recovery of one system ended."""

    system: str
    title: str
    wave: int  # from 0
    state: str  # DONE, FAILED, HELD_BACK
    promised: timedelta  # the RTO of its policy
    rto: timedelta | None  # from the declaration to the end of its last source; None: it is not done
    reconnect: tuple[str, ...]  # systems to be connected to it again later
    details: dict[str, str]  # source → its result in words
    failures: dict[str, Failure] = {}  # source → why it was not restored

    @property
    def kept(self) -> bool:
        """Whether the promised RTO was kept."""
        return self.rto is not None and self.rto <= self.promised


class RecoveryOutcome(msgspec.Struct, frozen=True):
    """How a recovery ended."""

    id: str  # empty: not applied
    applied: bool  # false: only the preflight was made
    resumed: bool  # it went on with an interrupted one
    preflight: tuple[PreflightLine, ...]
    systems: tuple[SystemOutcome, ...] = ()
    evidence: Evidence | None = None  # None: not applied

    @property
    def ready(self) -> bool:
        """Whether every line of the preflight is good."""
        return all(line.good for line in self.preflight)

    @property
    def complete(self) -> bool:
        """Whether the recovery was applied and every system is done."""
        return self.applied and all(system.state == DONE for system in self.systems)


class RecoveryStatement(msgspec.Struct, frozen=True, kw_only=True):
    """The document that a recovery's evidence signs (``docs/evidence-format.md``)."""

    id: str
    city: str
    declared_at: datetime
    ended_at: datetime
    resumed: bool  # it went on with an interrupted one
    target: str  # a folder on the controller, or "in place"
    plan: RecoveryPlan
    systems: tuple[dict[str, str | float | None], ...]  # system, state, promised_rto and measured_rto in seconds
    format: str = "drbackup-recovery/1"


def run_recovery(
    installation: Installation, plan: RecoveryPlan, options: RecoveryOptions = _USUAL, *, now: Clock
) -> RecoveryOutcome:
    """The outcome of the preflight and, with ``apply``, of the recovery. ``now``: the controller's clock, aware.

    The same plan to the same target again resumes an unfinished recovery. A system that fails does not stop the others:
    the outcome names it. Raises :class:`Interrupted` when stopped.
    """
    lines = preflight(
        installation,
        plan,
        folder=options.target_folder,
        key=options.key,
        connect=options.connect,
        stop=options.stop,
    )
    if not options.apply:
        return RecoveryOutcome("", False, False, lines)
    return _RecoveryRun(installation, plan, options, now).run(lines)


class _RecoveryRun:
    """One recovery under way."""

    def __init__(self, installation: Installation, plan: RecoveryPlan, options: RecoveryOptions, now: Clock) -> None:
        self._installation = installation
        self._plan = plan
        self._options = options
        self._folder = options.target_folder
        self._now = now
        self._stop = options.stop or threading.Event()
        self._recoveries = installation.catalog.recoveries
        self._mutex = threading.Lock()
        self._state: dict[str, RecoveryStep] = {}
        self._resumed = False
        self._id = ""
        self._declared = self._now()

    def run(self, lines: tuple[PreflightLine, ...]) -> RecoveryOutcome:
        self._begin()
        outcomes: dict[str, SystemOutcome] = {}
        for wave in self._plan.waves:
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="recover") as pool:
                tasks = [pool.submit(self._system, step, dict(outcomes)) for step in wave]
                for task in tasks:
                    outcome = task.result()
                    outcomes[outcome.system] = outcome
            if self._stop.is_set():
                raise Interrupted("the recovery was stopped", hint="run the same command again: it goes on from here")
        ended = self._now()
        state = DONE if all(outcome.state == DONE for outcome in outcomes.values()) else FAILED
        evidence = self._evidence(outcomes, ended)
        self._recoveries.state(self._id, state, ended_at=ended)
        return RecoveryOutcome(self._id, True, self._resumed, lines, tuple(outcomes.values()), evidence)

    # --- begin or resume ---

    def _begin(self) -> None:
        wanted = self._document()
        for known in self._recoveries.list():
            if known.plan == wanted and self._goes_on(known):
                self._id, self._resumed = known.id, True
                self._declared = self._options.declared_at or known.started_at
                self._state = {step.step: step for step in known.steps}
                self._recoveries.state(self._id, RUNNING)
                return
        self._declared = self._options.declared_at or self._declared
        self._id = f"{timestamp(self._declared)}-{secrets.token_hex(4)}"
        names = [_name(step, source) for step in self._plan.steps for source in step.sources]
        self._state = {name: RecoveryStep(name, number, WAITING) for number, name in enumerate(names)}
        steps = tuple(self._state.values())
        self._recoveries.begin(Recovery(self._id, wanted, RUNNING, self._declared, None, steps))

    def _goes_on(self, known: Recovery) -> bool:
        """Whether a recovery with the same plan is resumed: it did not succeed, and its last step is recent."""
        if self._options.fresh or known.state not in {RUNNING, FAILED}:
            return False
        last = max((step.ended_at or known.started_at for step in known.steps), default=known.started_at)
        return self._now() - last <= RESUMABLE

    def _document(self) -> str:
        target = str(self._folder) if self._folder else ""
        return msgspec.json.encode({"target": target, "plan": self._plan}, order="sorted").decode()

    # --- systems and sources ---

    def _system(self, step: SystemStep, before: dict[str, SystemOutcome]) -> SystemOutcome:
        absent = [name for name in step.after if name in before and before[name].state != DONE]
        if absent:
            reason = f"waits for {', '.join(absent)}"
            for source in step.sources:
                self._note(step, source, HELD_BACK, reason)
            return self._outcome(step, HELD_BACK)
        for source in step.sources:
            if self._stop.is_set():
                break
            if self._state[_name(step, source)].state != DONE:
                self._source(step, source)
        states = {self._state[_name(step, source)].state for source in step.sources}
        return self._outcome(step, DONE if states == {DONE} else FAILED)

    def _source(self, step: SystemStep, source: SourceStep) -> None:
        name = _name(step, source)
        if source.missing:
            self._failed(step, source, Failure(PointMissing.__name__, source.missing))
            return
        self._note(step, source, RUNNING, "")
        told = self._options.on_progress
        try:
            point = self._installation.catalog.points.get(source.point)
            agent, target = target_of(self._installation, step.system, source, self._folder)
            how = RestoreOptions(
                target,
                agent=agent,
                replace=self._options.replace,
                key=self._options.key,
                on_progress=None if told is None else lambda news: told(name, news),
                stop=self._stop,
                connect=self._options.connect,
            )
            result = restore_point(self._installation, point, how, now=self._now)
        except Interrupted:
            return  # it stays "running" in the catalog: the next attempt begins with it
        except DrbackupError as failure:
            self._failed(step, source, Failure.of(failure))
        else:
            self._note(step, source, DONE, f"{result.files} files, {result.content_bytes} bytes")

    def _failed(self, step: SystemStep, source: SourceStep, failure: Failure) -> None:
        self._note(step, source, FAILED, failure.line, failure)

    def _note(
        self, step: SystemStep, source: SourceStep, state: str, detail: str, failure: Failure | None = None
    ) -> None:
        """Writes the step's new state durably, and only then tells the listener."""
        name = _name(step, source)
        with self._mutex:
            known = self._state[name]
            now = self._now()
            begun = now if state == RUNNING else known.started_at
            ended = None if state == RUNNING else now
            self._state[name] = RecoveryStep(name, known.ordinal, state, begun, ended, detail, failure)
            self._recoveries.step(self._id, self._state[name])
        if (heard := self._options.on_step) is not None:
            heard(name, state)

    def _outcome(self, step: SystemStep, state: str) -> SystemOutcome:
        steps = [self._state[_name(step, source)] for source in step.sources]
        ends = [each.ended_at for each in steps if each.ended_at is not None]
        return SystemOutcome(
            system=step.system,
            title=step.title,
            wave=step.wave,
            state=state,
            promised=timedelta(seconds=step.rto),
            rto=max(ends) - self._declared if state == DONE and ends else None,
            reconnect=step.reconnect,
            details={SourceName.read(each.step).source: each.detail or each.state for each in steps},
            failures={SourceName.read(each.step).source: each.failure for each in steps if each.failure},
        )

    # --- evidence ---

    def _evidence(self, outcomes: dict[str, SystemOutcome], ended: datetime) -> Evidence:
        statement = RecoveryStatement(
            id=self._id,
            city=self._installation.inventory.title,
            declared_at=self._declared,
            ended_at=ended,
            resumed=self._resumed,
            target=str(self._folder) if self._folder else "in place",
            plan=self._plan,
            systems=tuple(
                {
                    "system": each.system,
                    "state": each.state,
                    "promised_rto": each.promised.total_seconds(),
                    "measured_rto": each.rto.total_seconds() if each.rto is not None else None,
                }
                for each in outcomes.values()
            ),
        )
        data = msgspec.json.format(msgspec.json.encode(statement, order="sorted"), indent=2) + b"\n"
        return write_evidence(self._installation, data, subject="recovery", when=ended)


def load_plan(installation: Installation, recovery: str) -> RecoveryPlan:
    """The plan of a recovery in the catalog, to resume it by its id. Raises :class:`PointMissing` without one."""
    document = msgspec.json.decode(installation.catalog.recoveries.get(recovery).plan, type=dict[str, msgspec.Raw])
    if "plan" not in document:
        raise PointMissing(say("recovery {recovery} holds no plan", recovery=recovery))
    return RecoveryPlan.decode(bytes(document["plan"]).decode())


def _name(step: SystemStep, source: SourceStep) -> str:
    return str(SourceName(step.system, source.source))
