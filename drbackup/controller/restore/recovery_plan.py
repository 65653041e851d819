"""What a recovery will do, before it does anything: systems in order, points, targets; and whether it can work.

A plan is data. It is shown, checked (:func:`preflight`), remembered as JSON, and only then carried out by
:mod:`drbackup.controller.restore.recovery`.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from drbackup.controller.home.installation import Installation
from drbackup.controller.home.policies import PolicySet
from drbackup.controller.restore.any_copy import from_any_copy
from drbackup.controller.restore.restore import choose_point, locate, unsealing_key
from drbackup.controller.runs.agent import Connector, agent_access
from drbackup.controller.runs.agent_requests import Listeners, ReadablePacks, ReadingRequests
from drbackup.controller.runs.specs import source_spec
from drbackup.errors import DrbackupError, Failure, HostUnsuitable, Interrupted, PointMissing, WrongKey, say
from drbackup.model.plan import hard_dependencies, recovery_plan
from drbackup.model.point import SourceName
from drbackup.vault.keys import DRILL, Keyring, SealKey
from drbackup.vault.record import unseal
from drbackup.wire.messages import PreflightJob
from drbackup.wire.specs import FolderTarget, InPlaceTarget, RestoreTarget


class SourceStep(msgspec.Struct, frozen=True):
    """One source of one system. ``point``: the record's id, empty when there is none; ``bytes``: to be written."""

    source: str
    kind: str
    agent: str
    point: str = ""
    pinned_at: str = ""
    bytes: int = 0
    missing: str = ""


class SystemStep(msgspec.Struct, frozen=True):
    """One system's return. ``after``: systems that must be back first; ``reconnect``: to be joined again later.
    ``rto``: promised seconds from the declaration."""

    system: str
    title: str
    wave: int
    after: tuple[str, ...]
    reconnect: tuple[str, ...]
    rto: float
    sources: tuple[SourceStep, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Sources without any point: the system can't come back whole."""
        return tuple(source.source for source in self.sources if source.missing)


class RecoveryPlan(msgspec.Struct, frozen=True):
    """Systems by wave; members of one wave may come back at the same time. ``when``: which points were chosen."""

    steps: tuple[SystemStep, ...]
    when: str = "latest"

    @property
    def waves(self) -> tuple[tuple[SystemStep, ...], ...]:
        count = max((step.wave for step in self.steps), default=-1) + 1
        return tuple(tuple(step for step in self.steps if step.wave == wave) for wave in range(count))

    @property
    def bytes(self) -> int:
        return sum(source.bytes for step in self.steps for source in step.sources)

    def encode(self) -> str:
        return msgspec.json.encode(self, order="sorted").decode()

    @classmethod
    def decode(cls, text: str) -> RecoveryPlan:
        return msgspec.json.decode(text, type=cls)


class PreflightLine(msgspec.Struct, frozen=True):
    """One thing looked at before anything is written."""

    what: str  # SYSTEM/SOURCE, a host and its check, the room in a folder
    good: bool
    said: str
    failure: Failure | None = None  # why it is not good

    @classmethod
    def failed(cls, what: str, failure: Failure) -> PreflightLine:
        """The line of something that failed."""
        return cls(what, False, failure.said, failure)


def plan_recovery(installation: Installation, systems: Collection[str] = (), *, when: str = "latest") -> RecoveryPlan:
    """The plan for these systems and what they need first; for all when none is named. ``when``: as for a restore.

    Raises :class:`~drbackup.errors.PolicyError` for an unknown system, a circle, and a named system that needs one
    whose policy is broken; of all systems, such ones are left out (:func:`beyond_plan`). A source without a point
    stands in the plan as missing: the others must not wait for it.
    """
    policies = installation.policies.policies
    beyond = beyond_plan(installation.policies)
    for system in (*systems, *(() if systems or len(beyond) < len(policies) else beyond)):
        if system in beyond:
            installation.policies.require_known(beyond[system])
    order = recovery_plan(policies, systems or [name for name in policies if name not in beyond])
    steps = []
    for each in order.steps:
        policy = policies[each.system]
        sources = []
        for source in policy.sources:
            try:
                point = choose_point(installation.catalog, each.system, source.name, when)
            except PointMissing as none:
                sources.append(SourceStep(source.name, str(source.kind), source.agent, missing=none.message))
                continue
            pinned = point.pinned_at.isoformat()
            sources.append(
                SourceStep(source.name, str(source.kind), source.agent, point.id, pinned, point.totals.bytes)
            )
        steps.append(
            SystemStep(
                each.system,
                policy.title,
                each.wave,
                each.after,
                each.reconnect,
                policy.objectives.rto.total_seconds(),
                tuple(sources),
            )
        )
    return RecoveryPlan(tuple(steps), when)


def beyond_plan(known: PolicySet) -> dict[str, str]:
    """System → the broken one that must be back before it: in which order, and where to, its policy alone says."""
    broken = known.broken_systems
    beyond: dict[str, str] = {}
    for _ in known.policies:  # as long as the longest chain may be
        for name, policy in known.policies.items():
            needs = hard_dependencies(policy)
            found = next(
                (need if need in broken else beyond[need] for need in needs if need in broken | beyond.keys()), ""
            )
            if found and name not in beyond:
                beyond[name] = found
    return beyond


def target_of(
    installation: Installation, system: str, source: SourceStep, folder: Path | None
) -> tuple[str, RestoreTarget]:
    """(agent, target): below ``folder`` on this machine, or where the source lives."""
    if folder is not None:
        return "", FolderTarget(str(folder / system / source.source))
    found = installation.policy(system).source(source.source)
    if found is None:  # the policy changed since the plan was made
        raise PointMissing(
            say("{system} has no source {source} any more", system=system, source=source.source),
            hint="plan the recovery again",
        )
    return source.agent, InPlaceTarget(source_spec(found))


def preflight(
    installation: Installation,
    plan: RecoveryPlan,
    *,
    folder: Path | None = None,
    key: bytes | None = None,
    connect: Connector | None = None,
    stop: threading.Event | None = None,
) -> tuple[PreflightLine, ...]:
    """Points, key, room and hosts. Changes nothing; raises :class:`Interrupted` when ``stop`` is set, else nothing
    expected."""
    lines: list[PreflightLine] = []
    for step in plan.steps:
        for source in step.sources:
            lines.append(_point_line(installation, step.system, source, key))
    if folder is not None:
        lines.append(_room_line(folder, plan.bytes))
    else:
        lines.extend(_host_lines(installation, plan, connect, stop))
    return tuple(lines)


def _point_line(installation: Installation, system: str, source: SourceStep, key: bytes | None) -> PreflightLine:
    what = str(SourceName(system, source.source))
    if source.missing:
        return PreflightLine.failed(what, Failure(PointMissing.__name__, source.missing))
    try:
        point = installation.catalog.points.get(source.point)
        found = from_any_copy(point, lambda store: locate(installation, point, store))
        seed = unsealing_key(installation, key).value
        if not seed:
            raise WrongKey("no key to open it: join the custodians' shares, or name the drill key")
        unseal(found.record, Keyring([SealKey.from_seed(DRILL, seed)]))
    except DrbackupError as bad:
        return PreflightLine.failed(what, Failure.of(bad))
    return PreflightLine(what, True, f"point {source.point[:12]} in store {found.store.name}, the key opens it")


def _room_line(folder: Path, needed: int) -> PreflightLine:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    said = f"{free >> 20} MiB free, {needed >> 20} MiB needed"
    return PreflightLine(f"room in {folder}", free > needed, said)


def _host_lines(
    installation: Installation, plan: RecoveryPlan, connect: Connector | None, stop: threading.Event | None
) -> Iterator[PreflightLine]:
    """Every host once: does it answer, with the agent file we deployed and a true clock, and can it work?"""
    for agent in sorted({source.agent for step in plan.steps for source in step.sources}):
        try:
            handler = ReadingRequests(ReadablePacks(), Listeners())
            result = agent_access(installation, agent, connect).run(PreflightJob(), handler, stop)
        except Interrupted:
            raise
        except DrbackupError as bad:
            yield PreflightLine.failed(f"host {agent}", Failure.of(bad))
            continue
        for check in result.checks:
            what = f"host {agent}, {check.name}"
            failure = Failure(HostUnsuitable.__name__, check.detail, agent)
            yield PreflightLine(what, check.good, check.line, None if check.good else failure)
