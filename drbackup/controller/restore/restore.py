"""The restore of one recovery point: its choice, a good copy of it, and the job for an agent.

When a copy is damaged or unreachable, the same restore goes on from the next store. What was finished is not fetched
again. The agent opens the bytes with its own key, or with one that it is sent. The controller can't open them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import msgspec

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.runs import RunKind, RunState
from drbackup.controller.home.installation import Installation
from drbackup.controller.home.keyfiles import DRILL_KEY, read_seed
from drbackup.controller.restore.any_copy import from_any_copy
from drbackup.controller.runs.agent import Connector, agent_access
from drbackup.controller.runs.agent_requests import ReadablePacks, ReadingRequests
from drbackup.controller.runs.leased import Completed, LeasedRun, RunRequest, leased
from drbackup.controller.runs.specs import limits
from drbackup.errors import (
    DrbackupError,
    Failure,
    FormatUnsupported,
    ObjectCorrupt,
    ObjectMissing,
    PointMissing,
    SignatureInvalid,
    StoreRefused,
    StoreUnavailable,
    VaultMissing,
    WrongKey,
    say,
)
from drbackup.model.point import Point
from drbackup.stores.base import Store
from drbackup.vault.record import Record, Sealed, read_record, unseal
from drbackup.wire.messages import Note, Progress, RestoreJob, RestoreResult
from drbackup.wire.specs import NO_SECRET, PointRef, RestoreTarget, Secret

Clock = Callable[[], datetime]
_OTHER_COPY_MAY_DO = (
    FormatUnsupported,  # a flipped bit in a pack's header can look like another format
    ObjectCorrupt,
    ObjectMissing,
    SignatureInvalid,
    StoreRefused,
    StoreUnavailable,
    VaultMissing,
    WrongKey,  # a flipped bit can look like another key's pack, too
)


class RestoreOptions(msgspec.Struct, frozen=True):
    """The choices of a caller for one restore."""

    target: RestoreTarget
    agent: str = ""  # that writes; empty: a child process on this machine
    paths: tuple[bytes, ...] = ()  # tree paths; none: the whole point
    replace: bool = False  # existing data may be replaced
    key: bytes | None = None  # an unsealing key's 32-byte seed; None: the agent's own
    store: str = ""  # the only store to read from; empty: any
    on_progress: Callable[[Progress], None] | None = None  # called from the session's threads; must be quick
    on_note: Callable[[Note], None] | None = None
    stop: threading.Event | None = None  # set it to end the restore cleanly
    connect: Connector | None = None  # another way to the agent than the inventory's


class LocatedPoint(msgspec.Struct, frozen=True):
    """A point's signed record as one store has it, checked and opened."""

    point: Point
    store: Store  # it was read from
    record: Record
    sealed: Sealed

    def reference(self, label: str = "") -> PointRef:
        """The part of it that an agent needs to read the point. ``label``: the name in its job; empty: the source's."""
        point = self.point
        source = label or point.source
        return PointRef(point.id, point.system, source, point.domain, point.kind, self.sealed.root)


def choose_point(catalog: Catalog, system: str, source: str, which: str = "latest") -> Point:
    """The point that ``which`` names: ``latest``, the beginning of an id, or an ISO time.

    A time means the newest point whose data is from then or before; without a zone it is UTC. Raises
    :class:`PointMissing`.
    """
    when = _instant(which)
    if when is None:
        return catalog.points.get(which, system=system, source=source)
    found = catalog.points.at_or_before(when, system, source)
    if found is None:
        raise PointMissing(
            say(
                "{system}/{source} has no recovery point of {which} or before",
                system=system,
                source=source,
                which=which,
            )
        )
    return found


def locate(installation: Installation, point: Point, store_name: str) -> LocatedPoint:
    """The point's record from one store, its hash, signature and seal checked. Raises the error of what is wrong.

    The vault's description is not read: only our own key can have signed the record. So a point can be restored from a
    store that has lost its description, too.
    """
    store = installation.store(store_name)
    try:
        record = read_record(store, point.name, installation.signer.public)
    except ObjectMissing:
        installation.vault(store_name)  # raises for an empty folder: a disk that is not mounted lost no record
        raise
    return LocatedPoint(point, store, record, unseal(record, installation.keyring))


def readable_packs(found: Iterable[LocatedPoint]) -> ReadablePacks:
    """The packs that an agent may read for these points, and no others."""
    return ReadablePacks.of((each.record.domain, each.record.packs, each.store) for each in found)


def unsealing_key(installation: Installation, key: bytes | None) -> Secret:
    """The key that the agent is sent: the given seed, else the drill key if it lies in the home, else none.

    Without one the agent uses its own. ``key``: 32 bytes.
    """
    if key is not None:
        return Secret(key)
    if not (installation.keys_folder / DRILL_KEY).exists():
        return NO_SECRET
    return Secret(read_seed(installation.keys_folder, DRILL_KEY))


def restore_point(installation: Installation, point: Point, options: RestoreOptions, *, now: Clock) -> RestoreResult:
    """The counts of what was written when a point, or a part of it, was restored. ``now``: the controller's clock.

    Raises :class:`~drbackup.errors.TargetOccupied`, :class:`~drbackup.errors.TargetFull`,
    :class:`~drbackup.errors.WrongKey` and the other errors of the agent. When every copy is bad, the last copy's error
    is raised. What was finished stays at the target; the same command does not fetch it again.
    """
    wanted = RunRequest(RunKind.RESTORE, point.system, point.source)
    work = _PointRestore(installation, point, options).work
    return leased(installation.catalog.runs, wanted, work, now=now, stop=options.stop)


class _PointRestore:
    """One restore under way. It is a run in the catalog, like everything that is executed."""

    def __init__(self, installation: Installation, point: Point, options: RestoreOptions) -> None:
        self._installation = installation
        self._point = point
        self._options = options

    def work(self, run: LeasedRun) -> Completed[RestoreResult]:
        result = self._from_any_copy(run)
        return Completed(result, detail=self._point.id, content_bytes=result.content_bytes, entries=result.entries)

    def _from_any_copy(self, run: LeasedRun) -> RestoreResult:
        def heard(store: str, bad: DrbackupError) -> None:
            if f"store {store}" not in bad.message:
                bad.reword(say("store {store}: {what}", store=store, what=bad.said))
            if self._options.on_note is not None:
                self._options.on_note(Note("warning", Failure.of(bad).line))

        stores = [self._options.store] if self._options.store else []
        return from_any_copy(
            self._point,
            lambda store: self._from(store, run),
            stores,
            another_may_do=_OTHER_COPY_MAY_DO,
            heard=heard,
        )

    def _from(self, store: str, run: LeasedRun) -> RestoreResult:
        found = locate(self._installation, self._point, store)
        agent = agent_access(self._installation, self._options.agent, self._options.connect)
        job = RestoreJob(
            point=found.reference(),
            target=self._options.target,
            paths=self._options.paths,
            replace=self._options.replace,
            key=unsealing_key(self._installation, self._options.key),
            limits=limits(agent.entry),
        )
        run.step(RunState.CONNECTING, host=agent.name)
        listeners = run.listeners(self._options.on_progress, self._options.on_note)
        return agent.run(job, ReadingRequests(readable_packs([found]), listeners, relay=agent.relay), run.stop)


def _instant(text: str) -> datetime | None:
    """An ISO time; None for anything else. A bare number is the beginning of an id, never a year."""
    if "-" not in text:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
