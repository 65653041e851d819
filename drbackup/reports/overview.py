"""How the whole city stands at one instant: every system, its sources, its drills, and what needs a person.

Owns the judgement behind ``drbackup status``: promises against what the catalog remembers. :func:`judge` is pure;
:func:`recall` reads the catalog. Invariant: what is not proven is shown as not proven, and a source without a single
point is a broken promise.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.drills import Drill
from drbackup.controller.catalog.runs import ACTIVE, FINAL, Run, RunKind, RunState
from drbackup.controller.catalog.scrub import Wounded
from drbackup.controller.home.policies import BrokenFile
from drbackup.model.objectives import PromiseJudgement, PromiseState, judge_rpo, judge_rto
from drbackup.model.point import Point
from drbackup.model.policy import Policy, SourcePolicy
from drbackup.model.verdict import Verdict
from drbackup.reports.figures import age, span
from drbackup.reports.gettext import _, ngettext

_CALENDAR = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=31)}
_VERDICTS = frozenset(Verdict)

NEGATIVE = "negative-drill"  # the kind of drill that must find damage we did

Place = tuple[str, str]  # system, source


class DrillStanding(enum.StrEnum):
    """How one system stands with its drills."""

    PROVEN = "proven"
    CONDITIONAL = "conditional"
    FAILED = "failed"
    OVERDUE = "overdue"
    NEVER = "never"
    NONE = "none"  # the policy asks for no drill


class Memory(msgspec.Struct, frozen=True):
    """What the catalog remembers, as far as a status needs it. ``drills``: the newest ended one of each system.
    ``newest``: each source's newest point of which a copy is not known to be damaged; ``damaged``: its points with a
    damaged copy; ``lacking``: store → points promised to it that are not there and that another store could give;
    ``scrubs``: store → the last time the daemon read a share of it back."""

    newest: Mapping[Place, Point] = msgspec.field(default_factory=dict)
    runs: Mapping[Place, Run] = msgspec.field(default_factory=dict)
    drills: Mapping[str, Drill] = msgspec.field(default_factory=dict)
    damaged: Mapping[Place, Sequence[Wounded]] = msgspec.field(default_factory=dict)
    lacking: Mapping[Place, Mapping[str, int]] = msgspec.field(default_factory=dict)
    scrubs: Mapping[str, Run] = msgspec.field(default_factory=dict)


class Need(msgspec.Struct, frozen=True):
    """One thing a person should do. ``urgent``: an objective is broken or a proof failed."""

    subject: str
    what: str
    next: str
    urgent: bool


class SourceStatus(msgspec.Struct, frozen=True):
    """One source: its newest point that protects, its promise judged by that now, and its last run. ``lost``: how many
    of its points are whole in no copy."""

    name: str
    kind: str
    agent: str
    rpo: PromiseJudgement
    newest: Point | None
    run: Run | None
    lost: int = 0

    @property
    def running(self) -> bool:
        return self.run is not None and self.run.active


class SystemStatus(msgspec.Struct, frozen=True):
    """One system with its sources."""

    system: str
    title: str
    department: str
    level: int
    rto: PromiseJudgement  # by the last drill
    sources: tuple[SourceStatus, ...]
    drill: Drill | None
    drilled: DrillStanding

    @property
    def breached(self) -> bool:
        """A promise that does not hold now. An RTO nobody measured is unproven, which is another thing."""
        return self.rto.state is PromiseState.BREACHED or any(not source.rpo.kept for source in self.sources)


class Overview(msgspec.Struct, frozen=True):
    """The city at ``now``."""

    title: str
    now: datetime
    systems: tuple[SystemStatus, ...]
    needs: tuple[Need, ...]
    unknown: tuple[str, ...] = ()  # names of broken policies or their files: what they promise nobody knows

    @property
    def breached(self) -> tuple[str, ...]:
        """The systems with a broken promise."""
        return tuple(system.system for system in self.systems if system.breached)

    @property
    def lost(self) -> int:
        """How many points are whole in no copy."""
        return sum(source.lost for system in self.systems for source in system.sources)


def recall(catalog: Catalog, policies: Iterable[Policy]) -> Memory:
    """Read from the catalog what :func:`judge` needs."""
    newest: dict[Place, Point] = {}
    runs: dict[Place, Run] = {}
    drills: dict[str, Drill] = {}
    lacking: dict[Place, dict[str, int]] = {}
    used: set[str] = set()
    damaged = catalog.scrubs.damage()
    for policy in policies:
        used.update(policy.copies)
        for source in policy.sources:
            place = (policy.system, source.name)
            lost = {wounded.point for wounded in damaged.get(place, ()) if wounded.lost}
            if (point := catalog.points.newest_whole(*place)) is not None:
                newest[place] = point
            if (run := catalog.runs.last(RunKind.BACKUP, *place, states=FINAL | ACTIVE)) is not None:
                runs[place] = run
            behind = {store: catalog.points.lacking(*place, store) for store in policy.copies}
            counts = {store: sum(each.id not in lost for each in lacked) for store, lacked in behind.items()}
            lacking[place] = {store: count for store, count in counts.items() if count}
        ended = (drill for drill in catalog.drills.list(system=policy.system) if drill.ended_at)
        # a negative drill proves the prover, not the copy
        if (drill := next((drill for drill in ended if drill.kind != NEGATIVE), None)) is not None:
            drills[policy.system] = drill
    ended_scrubs = {store: catalog.runs.last(RunKind.SCRUB, source=store, states=FINAL) for store in used}
    scrubs = {store: run for store, run in ended_scrubs.items() if run is not None}
    return Memory(newest, runs, drills, damaged, lacking, scrubs)


def judge(
    title: str, policies: Iterable[Policy], memory: Memory, now: datetime, broken: Sequence[BrokenFile] = ()
) -> Overview:
    """The city's standing. Systems in the policies' order; needs with the urgent ones first."""
    systems = tuple(_system(policy, memory, now) for policy in policies)
    needs = [
        need
        for system in systems
        for need in (*_source_needs(system, memory, now), *_copy_needs(system, memory), *_drill_needs(system, now))
    ]
    needs += _store_needs(memory, now)
    needs[:0] = _policy_needs(broken)
    unknown = tuple(each.system or each.file for each in broken)
    return Overview(title, now, systems, tuple(sorted(needs, key=lambda need: not need.urgent)), unknown)


def _policy_needs(broken: Sequence[BrokenFile]) -> Iterable[Need]:
    """First of all: of such a system nothing else here can be said."""
    for each in broken:
        what = _("its policy is broken, nobody knows what it promises: {what}").format(what=each)
        yield Need(each.system or each.file, what, "drbackup policy check", True)


def _system(policy: Policy, memory: Memory, now: datetime) -> SystemStatus:
    drill = memory.drills.get(policy.system)
    measured = None if drill is None or drill.rto_seconds is None else timedelta(seconds=drill.rto_seconds)
    return SystemStatus(
        policy.system,
        policy.title,
        policy.department,
        policy.level,
        judge_rto(policy.objectives.rto, measured, drill.started_at if drill else None, now),
        tuple(_source(policy, source, memory, now) for source in policy.sources),
        drill,
        _drilled(policy, drill, now),
    )


def _source(policy: Policy, source: SourcePolicy, memory: Memory, now: datetime) -> SourceStatus:
    place = (policy.system, source.name)
    point = memory.newest.get(place)
    rpo = judge_rpo(policy.objectives.rpo, point.pinned_at if point else None, now)
    lost = sum(wounded.lost for wounded in memory.damaged.get(place, ()))
    return SourceStatus(source.name, str(source.kind), source.agent, rpo, point, memory.runs.get(place), lost)


def _drilled(policy: Policy, drill: Drill | None, now: datetime) -> DrillStanding:
    """A failed or unknown verdict is failed; a good one that is too old proves nothing any more."""
    if policy.drill is None:
        return DrillStanding.NONE
    if drill is None:
        return DrillStanding.NEVER
    verdict = Verdict(drill.verdict) if drill.verdict in _VERDICTS else Verdict.FAILED
    if not verdict.proves:
        return DrillStanding.FAILED
    every = policy.drill.every
    interval = every if isinstance(every, timedelta) else _CALENDAR[every]
    if now - drill.started_at > interval:
        return DrillStanding.OVERDUE
    return DrillStanding.PROVEN if verdict is Verdict.PASSED else DrillStanding.CONDITIONAL


def _source_needs(system: SystemStatus, memory: Memory, now: datetime) -> Iterable[Need]:
    for source in system.sources:
        subject = f"{system.system}/{source.name}"
        again = f"drbackup backup {subject}"
        failed = source.run is not None and source.run.state in {RunState.FAILED, RunState.MISSED}
        if failed and source.run is not None:
            run = source.run
            when = age(run.ended_at or run.due_at, now)
            said = run.error_message or run.error_code
            if run.state is RunState.MISSED:
                what = _("backup missed {when}: {why}").format(when=when, why=said)
            else:
                what = _("backup failed {when}: {why}").format(when=when, why=said)
            yield Need(subject, what, run.error_hint or again, not source.rpo.kept)
        elif source.running:
            continue  # it is being seen to
        elif source.rpo.actual is None:
            damaged = memory.damaged.get((system.system, source.name), ())
            if not source.lost:
                yield Need(subject, _("was never backed up"), again, True)
            elif all(each.mendable for each in damaged):  # else the damage's own line says to back up
                yield Need(subject, _("no point is whole in any copy"), again, True)
        elif source.rpo.state is not PromiseState.OK:
            words = _("newest whole point is {age} old, promised {promise}")
            if not source.lost:
                words = _("newest point is {age} old, promised {promise}")
            what = words.format(age=span(source.rpo.actual), promise=span(source.rpo.promised))
            yield Need(subject, what, again, not source.rpo.kept)


def _copy_needs(system: SystemStatus, memory: Memory) -> Iterable[Need]:
    """Damage is urgent while another copy can still mend it; what is lacking is copied by itself, unless it is not."""
    for source in system.sources:
        place = (system.system, source.name)
        subject = "/".join(place)
        damaged = memory.damaged.get(place, ())
        torn = [each for each in damaged if each.lost and each.mendable]
        for store, count in sorted(Counter(s for each in damaged if not each.lost for s in each.damaged).items()):
            words = ngettext("{n} point is damaged in store {store}", "{n} points are damaged in store {store}", count)
            yield Need(subject, words.format(n=count, store=store), f"drbackup vault repair {store}", True)
        if torn:
            words = ngettext(
                "{n} point is damaged in every copy ({stores}); only what is whole in one of them can be mended",
                "{n} points are damaged in every copy ({stores}); only what is whole in one of them can be mended",
                len(torn),
            )
            stores = ", ".join(sorted({store for each in torn for store in each.damaged}))
            step = "drbackup vault repair"
            yield Need(subject, words.format(n=len(torn), stores=stores), step, _uncovered(source, torn))
        yield from _unmendable(subject, source, [each for each in damaged if not each.mendable])
        for store, count in memory.lacking.get(place, {}).items():
            words = ngettext("{n} point is not in store {store} yet", "{n} points are not in store {store} yet", count)
            yield Need(subject, words.format(n=count, store=store), f"drbackup vault catch-up {store}", False)


def _unmendable(subject: str, source: SourceStatus, damaged: Sequence[Wounded]) -> Iterable[Need]:
    """Points damaged in their only copy. A new backup brings back what the source still has; once there is one, nothing
    is left to do but to know which points can be restored."""
    for store, count in sorted(Counter(each.damaged[0] for each in damaged).items()):
        words = ngettext(
            "{n} point is damaged in store {store}, its only copy: nothing can mend it",
            "{n} points are damaged in store {store}, their only copy: nothing can mend them",
            count,
        )
        uncovered = _uncovered(source, [each for each in damaged if each.damaged[0] == store])
        step = f"drbackup backup {subject}" if uncovered else f"drbackup points list {subject}"
        yield Need(subject, words.format(n=count, store=store), step, uncovered)


def _uncovered(source: SourceStatus, lost: Sequence[Wounded]) -> bool:
    """Whether the newest of these points is newer than all that is whole."""
    return source.newest is None or source.newest.pinned_at < max(each.pinned_at for each in lost)


def _store_needs(memory: Memory, now: datetime) -> Iterable[Need]:
    for store, run in sorted(memory.scrubs.items()):
        if run.state is RunState.FAILED:
            what = _("reading store {store} back failed {when}: {why}")
            text = what.format(store=store, when=age(run.ended_at or run.due_at, now), why=run.error_message)
            yield Need(store, text, run.error_hint or f"drbackup vault scrub {store}", False)


def _drill_needs(system: SystemStatus, now: datetime) -> Iterable[Need]:
    again = f"drbackup drill run {system.system}"
    drill = system.drill
    if system.drilled is DrillStanding.NEVER:
        yield Need(system.system, _("was never drilled"), again, False)
    elif system.drilled is DrillStanding.NONE:
        yield Need(system.system, _("its policy asks for no drill"), _("add a drill to its policy"), False)
    elif drill is not None and system.drilled is DrillStanding.OVERDUE:
        what = _("last drill {when}: overdue").format(when=age(drill.started_at, now))
        yield Need(system.system, what, again, False)
    elif drill is not None and system.drilled is DrillStanding.FAILED:
        what = _("drill failed {when}").format(when=age(drill.started_at, now))
        if drill.findings:
            what += f": {drill.findings[0]}"
        yield Need(system.system, what, f"drbackup drill show {drill.id}", True)
    elif drill is not None and system.rto.state is PromiseState.BREACHED and system.rto.actual is not None:
        what = _("a drill measured an RTO of {rto}, promised {promise}").format(
            rto=span(system.rto.actual), promise=span(system.rto.promised)
        )
        yield Need(system.system, what, f"drbackup drill show {drill.id}", True)
