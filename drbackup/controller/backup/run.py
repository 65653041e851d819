"""One backup run, from claimed to committed.

Order, each step durable in the catalog before the next begins: claimed · connecting · pinned · sending · committing ·
committed. The record in the first copy's store is the commit. Whatever ends a run early is written beside it; a
controller that is killed leaves a run whose holder is gone, which the next one marks failed and looks after.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypedDict, Unpack

import msgspec

from drbackup.controller.backup.adopt import reconcile_dead_runs
from drbackup.controller.backup.agent_result import validate_result, validate_tree
from drbackup.controller.backup.commit import Committer
from drbackup.controller.catalog.runs import Claim, RunKind, RunState
from drbackup.controller.catalog.sessions import SessionRow
from drbackup.controller.copies.presence import missing_packs
from drbackup.controller.home.installation import Installation
from drbackup.controller.runs.agent_requests import BackupRequests, Listeners, UploadTarget
from drbackup.controller.runs.lease import Lease, RunStop, lease_request
from drbackup.controller.runs.specs import backup_job, judge_size, plausibility
from drbackup.errors import (
    DoneInPart,
    DrbackupError,
    Interrupted,
    ObjectCorrupt,
    PacksMissing,
    ProtocolViolation,
    RunLost,
    RunTooLong,
    UsageError,
)
from drbackup.fleet.channel import Channel
from drbackup.fleet.deployed import expected
from drbackup.fleet.session import run_session
from drbackup.model.collect import SESSION_MOST, lease_ns
from drbackup.model.inventory import AgentEntry, Inventory
from drbackup.model.point import Point
from drbackup.model.policy import Policy, SourcePolicy
from drbackup.model.quantities import format_duration as span_words
from drbackup.stores.base import Store
from drbackup.system.instants import to_ns
from drbackup.vault.layout import PACK_KINDS, TREE, object_name
from drbackup.vault.tree import decode_root
from drbackup.wire.messages import BackupJob, BackupResult, Note, Progress

Clock = Callable[[], datetime]
Connector = Callable[[str, AgentEntry, Inventory], Channel]


class BackupOptions(TypedDict, total=False):
    """What a caller may say about one run."""

    due: datetime | None  # when it should have run; left out: now
    now: Clock  # the controller's clock, aware; left out: the system's
    on_progress: Callable[[Progress], None] | None  # called from the session's threads; must be quick
    on_note: Callable[[Note], None] | None
    accept_shrink: bool  # a person says the data was removed on purpose
    run: str  # a due row of the catalog to claim; left out: a new one
    stop: threading.Event | None  # set it to end the run cleanly
    connect: Connector


def run_backup(installation: Installation, system: str, source: str, **options: Unpack[BackupOptions]) -> Point:
    """Back one source up; the committed point.

    Raises :class:`UsageError` for an unknown system or source, :class:`RunActive` while the source is being copied,
    :class:`DoneInPart` when the point is committed but not in every copy's store, and otherwise what failed: the run is
    then marked failed with that error, and everything committed before stands.
    """
    policy = installation.policy(system)
    chosen = policy.source(source)
    if chosen is None:
        known = ", ".join(each.name for each in policy.sources)
        raise UsageError(f"{system} has no source {source}", hint=f"sources: {known}")
    return _BackupRun(installation, policy, chosen, options).run()


class _BackupRun:
    """The state of one run. One thread runs it; listeners are called from the session's threads."""

    def __init__(
        self, installation: Installation, policy: Policy, source: SourcePolicy, options: BackupOptions
    ) -> None:
        self._installation = installation
        self._catalog = installation.catalog
        self._policy = policy
        self._source = source
        self._options = options
        self._now: Clock = options.get("now") or (lambda: datetime.now(UTC))
        self._stop = RunStop(options.get("stop"))
        self._begun = self._now()
        self._pinned_ns = 0
        self._agent = installation.agent(source.agent)
        self._what = f"{policy.system}/{source.name}"

    def run(self) -> Point:
        claim = self._begin()
        try:
            return self._hold(claim)
        except RunLost:
            # The run is not ours any more: whoever took it over has marked it, and must know that we stopped.
            self._catalog.runs.leave(claim.run, now=self._now())
            raise

    def _hold(self, claim: Claim) -> Point:
        with Lease(self._catalog.runs, claim, self._now, self._stop) as lease:
            try:
                point, shortfall = self._work(claim, lease)
            except RunLost:
                raise
            except DrbackupError as failure:
                lease.require()  # a session that was cancelled because the lease is lost says "interrupted"
                self._catalog.runs.fail(claim, failure, now=self._now())
                raise
            except BaseException as crash:
                error = Interrupted("a person interrupted the run") if isinstance(crash, KeyboardInterrupt) else None
                bug = error or DrbackupError(f"a fault in drbackup itself: {type(crash).__name__}: {crash}")
                self._catalog.runs.fail(claim, bug, now=self._now())
                raise
        if shortfall is not None:
            raise shortfall
        return point

    def _begin(self) -> Claim:
        runs, lease = self._catalog.runs, lease_request(self._now())
        if due_run := self._options.get("run"):
            return runs.claim(due_run, lease)
        due = self._options.get("due")
        return runs.start(RunKind.BACKUP, self._policy.system, self._source.name, lease=lease, due=due)

    def _work(self, claim: Claim, lease: Lease) -> tuple[Point, DoneInPart | None]:
        # First of all: a point that a dead controller committed must be known, or the chain would fork.
        reconcile_dead_runs(self._installation, self._policy.system, self._source.name, self._now)
        first = self._installation.store(self._policy.copies[0])
        result = self._complete(claim, lease, first)
        lease.require()
        committer = Committer(self._installation, self._policy, self._source, claim.run, self._now, self._require_young)
        committer.copy_packs(result)
        lease.require()
        self._catalog.runs.step(claim, RunState.COMMITTING, now=self._now())
        point = committer.commit(result)
        counters = {
            "content_bytes": point.totals.bytes,
            "stored_bytes": point.totals.stored_bytes,
            "entries": point.totals.entries,
        }
        end = self._now()
        self._catalog.runs.step(claim, RunState.COMMITTED, now=end, detail=point.id, point=point.id, **counters)
        shortfall = committer.shortfall(point)
        if shortfall is not None:
            self._catalog.runs.note_error(claim, shortfall)
        return point, shortfall

    def _require_young(self) -> None:
        """Raises :class:`RunTooLong`. Collecting counts on it that what a run relied on has its record by then."""
        age = self._now() - self._begun
        if age > SESSION_MOST:
            raise RunTooLong(f"{self._what}: {span_words(age)} passed since it began, {span_words(SESSION_MOST)} may")

    # --- from the source to the first copy ---

    def _complete(self, claim: Claim, lease: Lease, store: Store) -> BackupResult:
        """The agent's result with every pack in ``store``. What is missing the agent is asked for again, once, with
        nothing taken from its memory of earlier runs."""
        missing: tuple[bytes, ...] = ()
        for use_cache in (True, False):
            result = self._session(claim, lease, store, use_cache)
            validate_result(result, self._pinned_ns, self._installation.inventory.max_clock_skew.total_seconds())
            packs, domain = self._catalog.packs, self._source.agent
            sizes, objects = packs.sizes(domain, result.packs), packs.count(domain, store.name)
            missing = missing_packs(store, domain, result.packs, sizes, objects=objects)
            missing += packs.forgotten(domain, store.name, result.packs)
            condemned = self._catalog.lifecycle.condemned(domain, store.name, result.packs)
            if not missing and not condemned:
                try:
                    validate_tree(result, store, self._installation.keyring, domain)
                except ObjectCorrupt:
                    missing = (TREE.encode() + decode_root(result.root).top.pack,)
                else:
                    return result
            # Of every kind: an agent may have stored under one what it then said to be in the other.
            packs.forget(domain, store.name, [(kind, pack[1:]) for pack in missing for kind in PACK_KINDS])
            missing += condemned  # on their way out of the store, and known there: they are not forgotten
        names = ", ".join(object_name(self._source.agent, pack) for pack in missing[:10])
        raise PacksMissing(f"{self._what}: {len(missing)} packs are not whole in store {store.name}: {names}")

    def _session(self, claim: Claim, lease: Lease, store: Store, use_cache: bool) -> BackupResult:
        self._catalog.runs.step(claim, RunState.CONNECTING, now=self._now(), host=self._source.agent)
        number = len(self._catalog.sessions.list(run=claim.run))
        session = claim.run if not number else f"{claim.run}-{number}"
        lock_days = self._installation.inventory.stores[store.name].lock_days
        lasts = lease_ns(to_ns(self._now()), lock_days)
        retired = self._catalog.lifecycle.unreliable(self._source.agent, store.name, locked_ns=lasts)
        job = msgspec.structs.replace(self._job(store), use_cache=use_cache, session=session, retired=retired)
        relay = self._agent.route == "tunnel"
        target = UploadTarget(self._catalog, store, self._source.agent, session, self._now, relay, lock_days)
        handler = BackupRequests(target, self._listeners(claim, lease))
        opened = SessionRow(session, claim.run, self._source.agent, store.name, self._now(), None, "")
        self._catalog.sessions.open(opened)
        outcome = "crashed"
        try:
            # paramiko is slow to import, and a run that was refused needs none of it
            from drbackup.fleet.connect import open_channel, session_timeouts

            inventory = self._installation.inventory
            connect = self._options.get("connect") or open_channel
            wanted = expected(self._installation.home, self._source.agent)
            limits = session_timeouts(self._agent, inventory)
            channel = connect(self._source.agent, self._agent, inventory)  # run_session closes it, whatever comes
            result = run_session(channel, job, handler, limits, expected=wanted, stop=self._stop)
            outcome = "ok"
        except DrbackupError as failure:
            outcome = failure.code
            raise
        finally:
            self._catalog.sessions.close(session, outcome, now=self._now())
        if not isinstance(result, BackupResult):  # the session has checked it
            raise ProtocolViolation(f"a backup ended with a {type(result).__name__}", host=self._source.agent)
        judge_size(result.content_bytes, job.plausible, self._what)
        return result

    def _job(self, store: Store) -> BackupJob:
        previous = self._catalog.points.newest(self._policy.system, self._source.name)
        plausible = plausibility(self._source, previous, accept_shrink=self._options.get("accept_shrink", False))
        keys = self._installation.domain_keys(self._source.agent, store.name)
        return backup_job(self._policy, self._source, self._agent, keys, plausible)

    def _listeners(self, claim: Claim, lease: Lease) -> Listeners:
        told, noted = self._options.get("on_progress"), self._options.get("on_note")

        def pinned(pinned_ns: int, position: str) -> None:
            runs = self._catalog.runs
            self._pinned_ns = pinned_ns
            runs.step(claim, RunState.PINNED, now=self._now(), pinned_ns=pinned_ns, position=position)
            # The agent sends only after our answer, so "sending" is durable before its first byte.
            runs.step(claim, RunState.SENDING, now=self._now())

        def progress(news: Progress) -> None:
            lease.hear(news)
            if told is not None:
                told(news)

        def note(line: Note) -> None:
            if noted is not None:
                noted(line)

        return Listeners(pinned, progress, note)
