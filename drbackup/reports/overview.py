"""The state of the whole city at one instant: every system, its sources, its drills, and what needs a person.

Owns the facts that are read from the catalog and the policies. :func:`recall` and :func:`recall_city` read;
:func:`facts_of` and :func:`judge` are pure. Only :mod:`drbackup.model.needs` decides what needs a person. Invariant:
what is not proven is shown as not proven, and a source without any point is a broken promise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.drills import NEGATIVE_DRILL, Drill
from drbackup.controller.catalog.runs import ACTIVE, FINAL, Run, RunKind, RunState
from drbackup.controller.collect.renew_locks import last_renewal
from drbackup.controller.home.installation import Installation
from drbackup.controller.home.policies import BrokenFile
from drbackup.errors import Failure
from drbackup.model.needs import (
    BadEnd,
    BrokenPolicy,
    CityFacts,
    LastDrill,
    LockFacts,
    Need,
    ProtectedSource,
    StoreFacts,
    SystemFacts,
    needs_of,
)
from drbackup.model.objectives import DrillStanding, PromiseJudgement, PromiseState
from drbackup.model.point import Point
from drbackup.model.policy import Policy, SourcePolicy
from drbackup.model.scrub import Wounded

Place = tuple[str, str]  # system, source


class Memory(msgspec.Struct, frozen=True):
    """What the catalog and the home know, as far as a status needs it."""

    newest: Mapping[Place, Point] = {}  # each source's newest point of which a copy is not known to be damaged
    runs: Mapping[Place, Run] = {}  # each source's last run
    drills: Mapping[str, Drill] = {}  # system → its newest ended drill that is not negative
    damaged: Mapping[Place, Sequence[Wounded]] = {}  # points with a damaged copy
    lacking: Mapping[Place, Mapping[str, int]] = {}  # store → points promised to it that another store could give
    scrubs: Mapping[str, Run] = {}  # store → the last time the daemon read a share of it back
    read_back: Mapping[str, StoreFacts] = {}  # store → how long ago its bytes were read
    locks: LockFacts | None = None  # None: no store locks, or there is no point yet


class SourceStatus(msgspec.Struct, frozen=True):
    """One source at ``now``."""

    name: str
    kind: str
    agent: str
    rpo: PromiseJudgement  # by ``newest``
    newest: Point | None  # the newest point of which a copy is not known to be damaged
    run: Run | None  # the last one, which may still run
    lost: int = 0  # points that are whole in no copy

    @property
    def running(self) -> bool:
        return self.run is not None and self.run.active


class SystemStatus(msgspec.Struct, frozen=True):
    """One system with its sources at ``now``."""

    system: str
    title: str
    department: str
    level: int  # of protection, by the policy
    rto: PromiseJudgement  # by the last drill
    sources: tuple[SourceStatus, ...]
    drill: Drill | None  # the newest ended one that is not negative
    drilled: DrillStanding

    @property
    def breached(self) -> bool:
        """Whether a promise does not hold now. An RTO that was never measured is unproven, not breached."""
        return self.rto.state is PromiseState.BREACHED or any(not source.rpo.kept for source in self.sources)


class Overview(msgspec.Struct, frozen=True):
    """The whole city at ``now``."""

    title: str  # from the inventory
    now: datetime
    systems: tuple[SystemStatus, ...]  # in the policies' order
    needs: tuple[Need, ...]  # the urgent ones first
    unknown: tuple[str, ...] = ()  # systems or files of broken policies: nobody knows what they promise

    @property
    def breached(self) -> tuple[str, ...]:
        """The systems with a broken promise."""
        return tuple(system.system for system in self.systems if system.breached)

    @property
    def lost(self) -> int:
        """The number of points that are whole in no copy."""
        return sum(source.lost for system in self.systems for source in system.sources)


def recall(catalog: Catalog, policies: Iterable[Policy]) -> Memory:
    """What :func:`judge` needs of these policies' systems, read from the catalog."""
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
        # a negative drill tests the drill, not the copy
        if (drill := next((drill for drill in ended if drill.kind != NEGATIVE_DRILL), None)) is not None:
            drills[policy.system] = drill
    ended_scrubs = {store: catalog.runs.last(RunKind.SCRUB, source=store, states=FINAL) for store in used}
    scrubs = {store: run for store, run in ended_scrubs.items() if run is not None}
    return Memory(newest, runs, drills, damaged, lacking, scrubs)


def recall_city(installation: Installation, now: datetime) -> Memory:
    """All that is known of the city: what :func:`recall` reads, and when stores were read back and locks renewed."""
    catalog, stores = installation.catalog, installation.inventory.stores
    read_back = {}
    for name, entry in stores.items():
        within = entry.scrub.within
        read_back[name] = StoreFacts(name, None, catalog.scrubs.coverage(name, now=now, within=within).oldest, within)
    locking = tuple(name for name, entry in stores.items() if entry.lock_days)
    relied_on = bool(locking) and bool(catalog.points.newest(1))
    locks = LockFacts(locking, last_renewal(installation)) if relied_on else None
    memory = recall(catalog, list(installation.policies.policies.values()))
    return replace(memory, read_back=read_back, locks=locks)


def overview_of(installation: Installation, now: datetime) -> Overview:
    """The city's state at ``now`` by all that is known here. Status, check and the month's report show it."""
    known = installation.policies
    memory = recall_city(installation, now)
    return judge(known.inventory.title, known.policies.values(), memory, now, known.broken)


def judge(
    title: str, policies: Iterable[Policy], memory: Memory, now: datetime, broken: Sequence[BrokenFile] = ()
) -> Overview:
    """The city's state at ``now`` by ``memory``. Pure. ``broken``: policy files that can't be read."""
    known = list(policies)
    facts = facts_of(known, memory, broken)
    systems = tuple(_system(policy, each, memory, now) for policy, each in zip(known, facts.systems, strict=True))
    unknown = tuple(each.system or each.file for each in broken)
    return Overview(title, now, systems, needs_of(facts, now), unknown)


def facts_of(policies: Iterable[Policy], memory: Memory, broken: Sequence[BrokenFile] = ()) -> CityFacts:
    """The facts from which :func:`~drbackup.model.needs.needs_of` decides what needs a person. Pure."""
    stores = dict.fromkeys((*sorted(memory.scrubs), *memory.read_back))
    return CityFacts(
        tuple(_system_facts(policy, memory) for policy in policies),
        tuple(_store_facts(name, memory) for name in stores),
        memory.locks,
        tuple(BrokenPolicy(each.file, each.system, each.said) for each in broken),
    )


def _system_facts(policy: Policy, memory: Memory) -> SystemFacts:
    drill = memory.drills.get(policy.system)
    rto = None if drill is None or drill.rto_seconds is None else timedelta(seconds=drill.rto_seconds)
    return SystemFacts(
        policy.system,
        policy.objectives.rpo,
        policy.objectives.rto,
        policy.drill.every if policy.drill else None,
        tuple(_source_facts(policy.system, source, memory) for source in policy.sources),
        LastDrill(drill.id, drill.started_at, drill.verdict, rto, drill.findings) if drill else None,
    )


def _source_facts(system: str, source: SourcePolicy, memory: Memory) -> ProtectedSource:
    place = (system, source.name)
    point, run = memory.newest.get(place), memory.runs.get(place)
    return ProtectedSource(
        source.name,
        point.pinned_at if point else None,
        run is not None and run.active,
        _bad_end(run),
        memory.damaged.get(place, ()),
        memory.lacking.get(place, {}),
    )


def _store_facts(name: str, memory: Memory) -> StoreFacts:
    run = memory.scrubs.get(name)
    failed = _bad_end(run) if run is not None and run.state is RunState.FAILED else None
    return replace(memory.read_back.get(name, StoreFacts(name)), read_back_failed=failed)


def _bad_end(run: Run | None) -> BadEnd | None:
    if run is None or run.state not in {RunState.FAILED, RunState.MISSED}:
        return None
    failure = Failure(run.error_code, run.error_message, where=run.error_where, hint=run.error_hint)
    return BadEnd(run.ended_at or run.due_at, failure, missed=run.state is RunState.MISSED)


def _system(policy: Policy, facts: SystemFacts, memory: Memory, now: datetime) -> SystemStatus:
    return SystemStatus(
        policy.system,
        policy.title,
        policy.department,
        policy.level,
        facts.rto(now),
        tuple(
            _source(facts, source, known, memory, now)
            for source, known in zip(policy.sources, facts.sources, strict=True)
        ),
        memory.drills.get(policy.system),
        facts.drilled(now),
    )


def _source(
    system: SystemFacts, source: SourcePolicy, known: ProtectedSource, memory: Memory, now: datetime
) -> SourceStatus:
    place = (system.system, source.name)
    rpo = known.rpo(system.promised_rpo, now)
    newest, run = memory.newest.get(place), memory.runs.get(place)
    return SourceStatus(source.name, str(source.kind), source.agent, rpo, newest, run, known.lost)
