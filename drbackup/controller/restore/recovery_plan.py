"""The plan of a recovery (systems in order, points, targets) and the preflight that checks it.

A plan is data. It is shown, checked by :func:`preflight` and kept in the catalog as JSON. Only then
:mod:`drbackup.controller.restore.recovery` carries it out.
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
    """One source of one system."""

    source: str
    kind: str  # of the source
    agent: str
    point: str = ""  # the record's id; empty: there is none
    pinned_at: str = ""  # ISO 8601
    bytes: int = 0  # to be written
    missing: str = ""  # why there is no point


class SystemStep(msgspec.Struct, frozen=True):
    """One system of the plan."""

    system: str
    title: str
    wave: int  # from 0
    after: tuple[str, ...]  # systems that must be restored first
    reconnect: tuple[str, ...]  # systems to be connected to it again later
    rto: float  # promised seconds from the declaration
    sources: tuple[SourceStep, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """The sources without a point. With one of them, the system can't be restored whole."""
        return tuple(source.source for source in self.sources if source.missing)


class RecoveryPlan(msgspec.Struct, frozen=True):
    """The systems by wave. Those of one wave may be restored at the same time."""

    steps: tuple[SystemStep, ...]
    when: str = "latest"  # which points were chosen, as for a restore

    @property
    def waves(self) -> tuple[tuple[SystemStep, ...], ...]:
        """The systems of each wave, the first wave first."""
        count = max((step.wave for step in self.steps), default=-1) + 1
        return tuple(tuple(step for step in self.steps if step.wave == wave) for wave in range(count))

    @property
    def bytes(self) -> int:
        """The bytes to be written by the whole plan."""
        return sum(source.bytes for step in self.steps for source in step.sources)

    def encode(self) -> str:
        """The plan as JSON with sorted keys: the same plan gives the same text."""
        return msgspec.json.encode(self, order="sorted").decode()

    @classmethod
    def decode(cls, text: str) -> RecoveryPlan:
        return msgspec.json.decode(text, type=cls)


class PreflightLine(msgspec.Struct, frozen=True):
    """One check before anything is written."""

    what: str  # SYSTEM/SOURCE, a host and its check, the free space of a folder
    good: bool
    said: str  # the result in words
    failure: Failure | None = None  # why it is not good

    @classmethod
    def failed(cls, what: str, failure: Failure) -> PreflightLine:
        """The line of a check that failed."""
        return cls(what, False, failure.said, failure)


def plan_recovery(installation: Installation, systems: Collection[str] = (), *, when: str = "latest") -> RecoveryPlan:
    """The plan for these systems and those that they depend on; for all when none is named.

    ``when`` chooses the points as for a restore. A source without a point is missing in the plan: the others must not
    wait for it. Raises :class:`~drbackup.errors.PolicyError` for an unknown system and for a circle of dependencies.
    A named system that depends on one with a broken policy raises it too. When none is named, such systems are left out
    (:func:`beyond_plan`).
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
    """System → the system with a broken policy that must be restored before it.

    Without that policy nobody knows the broken system's place in the order, or its target.
    """
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
    """(agent, target): below ``folder`` on this machine, or, without a folder, in place of the source.

    An empty agent is a child process on this machine. Raises :class:`PointMissing` when the policy lost the source.
    """
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
    """The checks of the plan's points, of the key, and of the folder's free space or the hosts. Nothing is changed.

    What fails is a line that is not good. Raises :class:`Interrupted` when ``stop`` is set.
    """
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
    """The checks of every host, each host once: the deployed agent answers, its clock is right, and it can work."""
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
