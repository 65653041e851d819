"""One backup run, from claimed to committed.

Order: claimed · connecting · pinned · sending · committing · committed. Each step is durable in the catalog before the
next begins. The record in the first copy's store is the commit. The error that ends a run early is kept in its row.
When the controller is killed, the next run marks the dead run failed and reconciles what it left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

import msgspec
from msgspec.structs import replace

from drbackup.controller.backup.adopt import reconcile_dead_runs
from drbackup.controller.backup.agent_result import validate_result, validate_tree
from drbackup.controller.backup.commit import Committer
from drbackup.controller.catalog.runs import RunKind, RunState
from drbackup.controller.catalog.sessions import SessionRow
from drbackup.controller.copies.presence import missing_packs
from drbackup.controller.home.installation import Installation
from drbackup.controller.runs.agent import Connector, agent_access
from drbackup.controller.runs.agent_requests import BackupRequests, Listeners, UploadTarget
from drbackup.controller.runs.leased import Completed, LeasedRun, RunRequest, leased
from drbackup.controller.runs.specs import backup_job, judge_size, plausibility
from drbackup.errors import DrbackupError, ObjectCorrupt, PacksMissing, RunTooLong, UsageError, say
from drbackup.model.collect import SESSION_MOST, lease_ns
from drbackup.model.point import Point, digest_of, pack_id
from drbackup.model.policy import Policy, SourcePolicy
from drbackup.model.quantities import format_duration as span_words
from drbackup.stores.base import Store
from drbackup.system.instants import to_ns
from drbackup.vault.layout import PACK_KINDS, TREE, object_name
from drbackup.vault.tree import decode_root
from drbackup.wire.messages import BackupJob, BackupResult, Note, Progress

Clock = Callable[[], datetime]
_PACKS_NAMED = 10  # in an error; a scrub names all


class BackupOptions(msgspec.Struct, frozen=True):
    """The choices of a caller for one run."""

    due: datetime | None = None  # when it should have run; None: now
    run: str = ""  # a due row of the catalog to claim; empty: a new one
    accept_shrink: bool = False  # a person says the data was removed on purpose
    on_progress: Callable[[Progress], None] | None = None  # called from the session's threads; must be quick
    on_note: Callable[[Note], None] | None = None
    stop: threading.Event | None = None  # set it to end the run cleanly
    connect: Connector | None = None  # another way to the agent than the inventory's


_USUAL = BackupOptions()


def run_backup(
    installation: Installation, system: str, source: str, options: BackupOptions = _USUAL, *, now: Clock
) -> Point:
    """The committed point of one source's backup. ``now``: the controller's clock, aware.

    Raises :class:`UsageError` for an unknown system or source, and :class:`RunActive` while the source is backed up.
    Raises :class:`DoneInPart` when the point is committed, but not in every copy's store. Any other error marks the run
    failed; everything committed before stays.
    """
    policy = installation.policy(system)
    chosen = policy.source(source)
    if chosen is None:
        known = ", ".join(each.name for each in policy.sources)
        raise UsageError(
            say("{system} has no source {source}", system=system, source=source),
            hint=say("sources: {known}", known=known),
        )
    wanted = RunRequest(RunKind.BACKUP, system, source, options.due, options.run)
    work = _BackupRun(installation, policy, chosen, options, now).work
    return leased(installation.catalog.runs, wanted, work, now=now, stop=options.stop)


class _BackupRun:
    """The state of one run. One thread runs it; listeners are called from the session's threads."""

    def __init__(
        self, installation: Installation, policy: Policy, source: SourcePolicy, options: BackupOptions, now: Clock
    ) -> None:
        self._installation = installation
        self._catalog = installation.catalog
        self._policy = policy
        self._source = source
        self._options = options
        self._now = now
        self._begun = now()
        self._pinned_ns = 0
        self._agent = agent_access(installation, source.agent, options.connect)
        self._what = f"{policy.system}/{source.name}"

    def work(self, run: LeasedRun) -> Completed[Point]:
        # First of all: a point that a dead controller committed must be known, or this one would name the wrong
        # previous point.
        reconcile_dead_runs(self._installation, self._policy.system, self._source.name, self._now)
        first = self._installation.store(self._policy.copies[0])
        result = self._complete(run, first)
        run.require()
        committer = Committer(self._installation, self._policy, self._source, run.id, self._now, self._require_young)
        committer.copy_packs(result)
        run.require()
        run.step(RunState.COMMITTING)
        point = committer.commit(result)
        return Completed(
            point,
            detail=point.id,
            point=point.id,
            content_bytes=point.totals.bytes,
            stored_bytes=point.totals.stored_bytes,
            entries=point.totals.entries,
            shortfall=committer.shortfall(point),
        )

    def _require_young(self) -> None:
        """A guarantee that the run is young enough to commit. Raises :class:`RunTooLong`.

        Collect relies on it: after that time no pack is needed by a run that has no record yet.
        """
        age = self._now() - self._begun
        if age > SESSION_MOST:
            raise RunTooLong(
                say(
                    "{what}: {age} passed since it began, {session_most} may",
                    what=self._what,
                    age=span_words(age),
                    session_most=span_words(SESSION_MOST),
                )
            )

    # --- from the source to the first copy ---

    def _complete(self, run: LeasedRun, store: Store) -> BackupResult:
        """The agent's valid result with every pack whole in ``store``.

        When packs are missing, the agent runs once more without its cache of earlier runs. Raises
        :class:`PacksMissing` when packs are missing after that too.
        """
        missing: tuple[bytes, ...] = ()
        for use_cache in (True, False):
            result = self._session(run, store, use_cache)
            skew = self._installation.inventory.max_clock_skew.total_seconds()
            validate_result(result, self._pinned_ns, skew, now_ns=to_ns(self._now()))
            packs, domain = self._catalog.packs, self._source.agent
            sizes, objects = packs.sizes(domain, result.packs), packs.count(domain, store.name)
            missing = missing_packs(store, domain, result.packs, sizes, objects=objects)
            missing += packs.forgotten(domain, store.name, result.packs)
            condemned = self._catalog.lifecycle.condemned(domain, store.name, result.packs)
            if not missing and not condemned:
                try:
                    validate_tree(result, store, self._installation.keyring, domain)
                except ObjectCorrupt:
                    missing = (pack_id(TREE, decode_root(result.root).top.pack),)
                else:
                    return result
            # Of every kind: an agent may have stored a pack as one kind, and then named it as the other.
            packs.forget(domain, store.name, [(kind, digest_of(pack)) for pack in missing for kind in PACK_KINDS])
            missing += condemned  # they are still in the store until they are erased: not to be forgotten
        names = ", ".join(object_name(self._source.agent, pack) for pack in missing[:_PACKS_NAMED])
        names += f" and {len(missing) - _PACKS_NAMED} more" if len(missing) > _PACKS_NAMED else ""
        raise PacksMissing(
            say(
                "{what}: {n} packs are not whole in store {store}: {names}",
                what=self._what,
                n=len(missing),
                store=store.name,
                names=names,
            )
        )

    def _session(self, run: LeasedRun, store: Store, use_cache: bool) -> BackupResult:
        run.step(RunState.CONNECTING, host=self._source.agent)
        number = len(self._catalog.sessions.list(run=run.id))
        session = run.id if not number else f"{run.id}-{number}"
        lock_days = self._installation.inventory.stores[store.name].lock_days
        lasts = lease_ns(to_ns(self._now()), lock_days)
        retired = self._catalog.lifecycle.unreliable(self._source.agent, store.name, locked_ns=lasts)
        job = msgspec.structs.replace(self._job(store), use_cache=use_cache, session=session, retired=retired)
        target = UploadTarget(
            self._catalog, store, self._source.agent, session, self._now, self._agent.relay, lock_days
        )
        handler = BackupRequests(target, self._listeners(run))
        opened = SessionRow(session, run.id, self._source.agent, store.name, self._now(), None, "")
        self._catalog.sessions.open(opened)
        outcome = "crashed"
        try:
            result = self._agent.run(job, handler, run.stop)
            outcome = "ok"
        except DrbackupError as failure:
            outcome = failure.code
            raise
        finally:
            self._catalog.sessions.close(session, outcome, now=self._now())
        judge_size(result.content_bytes, job.plausible, self._what)
        return result

    def _job(self, store: Store) -> BackupJob:
        previous = self._catalog.points.last(self._policy.system, self._source.name)
        plausible = plausibility(self._source, previous, accept_shrink=self._options.accept_shrink)
        keys = self._installation.domain_keys(self._source.agent, store.name)
        return backup_job(self._policy, self._source, self._agent.entry, keys, plausible)

    def _listeners(self, run: LeasedRun) -> Listeners:
        def pinned(pinned_ns: int, position: str) -> None:
            self._pinned_ns = pinned_ns
            run.step(RunState.PINNED, pinned_ns=pinned_ns, position=position)
            # The agent sends only after our answer, so "sending" is durable before its first byte.
            run.step(RunState.SENDING)

        return replace(run.listeners(self._options.on_progress, self._options.on_note), pinned=pinned)
