"""Runs: one row for every execution of anything, kept for ever, and every step of it before the next begins.

A run is claimed under a lease with a fencing number. Whoever holds an older number, or a lease that was taken over,
can't write another step: :class:`~drbackup.errors.RunLost`. At most one run of a source is active at any time.
"""

from __future__ import annotations

import enum
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from drbackup.controller.catalog.connection import Database
from drbackup.controller.catalog.instants import from_ns, from_ns_or_none, to_ns
from drbackup.controller.catalog.tables import run_steps, runs, sessions
from drbackup.errors import DrbackupError, RunActive, RunLost, UsageError


class RunKind(enum.StrEnum):
    """What is being executed."""

    BACKUP = "backup"
    DRILL = "drill"
    RESTORE = "restore"
    RECOVER = "recover"


class RunState(enum.StrEnum):
    """Where a run is. The last three are final."""

    DUE = "due"
    CLAIMED = "claimed"
    CONNECTING = "connecting"
    PINNED = "pinned"
    SENDING = "sending"
    COMMITTING = "committing"
    COMMITTED = "committed"
    FAILED = "failed"
    MISSED = "missed"


FINAL = frozenset({RunState.COMMITTED, RunState.FAILED, RunState.MISSED})
SETTLED = "settled"  # a step, no state: the store was asked whether a failed commit had happened
ACTIVE = frozenset(RunState) - FINAL - {RunState.DUE}


@dataclass(frozen=True, slots=True)
class Run:
    """One run as the lists show it. Bytes; UTC instants."""

    id: str
    kind: RunKind
    system: str
    source: str
    state: RunState
    due_at: datetime
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    pinned_at: datetime | None
    position: str
    holder: str
    lease_until: datetime | None
    fence: int
    host: str
    point: str
    error_code: str
    error_message: str
    error_where: str
    error_hint: str
    content_bytes: int
    stored_bytes: int
    entries: int
    phase: str

    @property
    def active(self) -> bool:
        return self.state in ACTIVE


@dataclass(frozen=True, slots=True)
class Step:
    """One step that a run reached."""

    step: str
    at: datetime
    detail: str


@dataclass(frozen=True, slots=True)
class LeaseWish:
    """Who wants a run, and until when its lease shall hold if nothing is heard of the holder."""

    holder: str
    now: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Counters:
    """How far a run is. Bytes."""

    phase: str
    content_bytes: int
    stored_bytes: int
    entries: int


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on one run."""

    run: str
    kind: RunKind
    system: str
    source: str
    holder: str
    fence: int


class Runs:
    """All runs. ``dead`` tells whether a lease's holder is known to be gone before the lease ran out."""

    def __init__(self, database: Database, dead: Callable[[str], bool]) -> None:
        self._database = database
        self._dead = dead

    # --- from due to claimed ---

    def add(self, kind: RunKind, system: str, source: str, *, due: datetime, now: datetime) -> str:
        """A new due row; its id."""
        with self._database.write() as connection:
            return insert_run(connection, (kind, system, source), due=due, now=now)

    def start(self, kind: RunKind, system: str, source: str, *, lease: LeaseWish, due: datetime | None = None) -> Claim:
        """A new run, claimed at once. Raises :class:`RunActive`, and then leaves no row behind."""
        with self._database.write() as connection:
            run = insert_run(connection, (kind, system, source), due=due or lease.now, now=lease.now)
            return self._claim(connection, run, lease)

    def claim(self, run: str, lease: LeaseWish) -> Claim:
        """Take a due run. A run of the same source whose holder is dead is marked failed first, honestly.

        Raises :class:`RunActive` while another run of the source is alive, :class:`UsageError` when the run is not due.
        """
        with self._database.write() as connection:
            return self._claim(connection, run, lease)

    def _claim(self, connection: Connection, run: str, lease: LeaseWish) -> Claim:
        now = lease.now
        row = connection.execute(select(runs).where(runs.c.id == run)).mappings().one_or_none()
        if row is None or row["state"] != RunState.DUE:
            raise UsageError(f"run {run} is {row['state'] if row else 'unknown'}, not due")
        same = _same_source(row)
        for other in connection.execute(select(runs).where(*same, runs.c.state.in_(ACTIVE))).mappings():
            if not self._abandoned(other, now):
                raise RunActive(
                    f"{other['system']}/{other['source']}: run {other['id']} is {other['state']}",
                    where=str(other["holder"]),
                )
            _mark_died(connection, other, now)
        highest = connection.execute(select(func.max(runs.c.fence)).where(*same)).scalar() or 0
        claim = Claim(run, RunKind(row["kind"]), row["system"], row["source"], lease.holder, highest + 1)
        connection.execute(
            update(runs)
            .where(runs.c.id == run)
            .values(
                state=RunState.CLAIMED,
                holder=lease.holder,
                lease_ns=to_ns(lease.until),
                fence=claim.fence,
                started_ns=to_ns(now),
            )
        )
        _add_step(connection, run, RunState.CLAIMED, now, lease.holder)
        return claim

    def renew(self, claim: Claim, *, until: datetime, counters: Counters | None = None) -> None:
        """Hold the lease longer and write the latest counters. Raises :class:`RunLost`."""
        columns: dict[str, Any] = {"lease_ns": to_ns(until)}
        if counters is not None:
            columns |= {
                "phase": counters.phase,
                "content_bytes": counters.content_bytes,
                "stored_bytes": counters.stored_bytes,
                "entries": counters.entries,
            }
        self._change(claim, columns)

    # --- steps ---

    def step(self, claim: Claim, state: RunState, *, now: datetime, detail: str = "", **columns: Any) -> None:
        """Durably enter ``state``. Raises :class:`RunLost` when the run was taken over."""
        if state in FINAL:
            columns["ended_ns"] = to_ns(now)
        self._change(claim, {"state": state, **columns}, step=(state, now, detail))

    def fail(self, claim: Claim, error: DrbackupError, *, now: datetime) -> None:
        """End the run with its error. Raises :class:`RunLost`."""
        self.step(claim, RunState.FAILED, now=now, detail=error.code, **_error_columns(error))

    def note_error(self, claim: Claim, error: DrbackupError) -> None:
        """Write an error beside a run that goes on or is committed (done in part). Raises :class:`RunLost`."""
        self._change(claim, _error_columns(error), active_only=False)

    def mark_dead(self, *, now: datetime) -> list[Run]:
        """Mark every active run whose holder is gone as failed; what they were. Called when a daemon starts."""
        with self._database.write() as connection:
            rows = list(connection.execute(select(runs).where(runs.c.state.in_(ACTIVE))).mappings())
            gone = [row for row in rows if self._abandoned(row, now)]
            for row in gone:
                _mark_died(connection, row, now)
        return [_run(row) for row in gone]

    def unsettled(self, system: str, source: str = "") -> list[Run]:
        """Failed backups that were committing and of which nobody looked yet whether their record was written."""
        began = select(run_steps.c.run).where(run_steps.c.step == RunState.COMMITTING)
        looked = select(run_steps.c.run).where(run_steps.c.step == SETTLED)
        query = select(runs).where(
            runs.c.state == RunState.FAILED, runs.c.system == system, runs.c.id.in_(began), runs.c.id.not_in(looked)
        )
        if source:
            query = query.where(runs.c.source == source)
        with self._database.read() as connection:
            return [_run(row) for row in connection.execute(query).mappings()]

    def settle(self, run: str, point: str, *, now: datetime, detail: str) -> None:
        """Somebody looked into the store: with ``point`` the run had committed after all, empty: it had not."""
        with self._database.write() as connection:
            if point:
                connection.execute(
                    update(runs)
                    .where(runs.c.id == run)
                    .values(
                        state=RunState.COMMITTED,
                        point=point,
                        error_code="",
                        error_message="",
                        error_where="",
                        error_hint="",
                    )
                )
            _add_step(connection, run, SETTLED, now, detail)

    # --- reading ---

    def get(self, run: str) -> Run:
        """One run. Raises :class:`UsageError`."""
        with self._database.read() as connection:
            row = connection.execute(select(runs).where(runs.c.id == run)).mappings().one_or_none()
        if row is None:
            raise UsageError(f"no run {run}")
        return _run(row)

    def list(
        self,
        *,
        kind: RunKind | None = None,
        system: str = "",
        source: str = "",
        states: Iterable[RunState] = (),
        limit: int = 1000,
    ) -> list[Run]:
        """Newest first by due time."""
        query = select(runs).order_by(runs.c.due_ns.desc(), runs.c.created_ns.desc()).limit(limit)
        wanted = {"kind": kind, "system": system, "source": source}
        for column, value in wanted.items():
            if value:
                query = query.where(runs.c[column] == value)
        chosen = list(states)
        if chosen:
            query = query.where(runs.c.state.in_(chosen))
        with self._database.read() as connection:
            return [_run(row) for row in connection.execute(query).mappings()]

    def last(self, kind: RunKind, system: str, source: str = "") -> Run | None:
        """The newest run that was due, whatever became of it."""
        found = self.list(kind=kind, system=system, source=source, limit=1)
        return found[0] if found else None

    def steps(self, run: str) -> tuple[Step, ...]:
        """Every step of a run, in order."""
        query = select(run_steps).where(run_steps.c.run == run).order_by(run_steps.c.ordinal)
        with self._database.read() as connection:
            return tuple(
                Step(row["step"], from_ns(row["at_ns"]), row["detail"]) for row in connection.execute(query).mappings()
            )

    # --- inside ---

    def _abandoned(self, row: RowMapping, now: datetime) -> bool:
        return row["lease_ns"] <= to_ns(now) or self._dead(row["holder"])

    def _change(
        self,
        claim: Claim,
        columns: Mapping[str, Any],
        *,
        step: tuple[str, datetime, str] | None = None,
        active_only: bool = True,
    ) -> None:
        ours = [runs.c.id == claim.run, runs.c.fence == claim.fence, runs.c.holder == claim.holder]
        if active_only:
            ours.append(runs.c.state.in_(ACTIVE))
        with self._database.write() as connection:
            # The fence is checked by the statement that writes: nothing can come between.
            if connection.execute(update(runs).where(*ours).values(**columns)).rowcount != 1:
                raise RunLost(
                    f"{claim.system}/{claim.source}: run {claim.run} was taken over or ended", where=claim.run
                )
            if step is not None:
                _add_step(connection, claim.run, *step)


def insert_run(
    connection: Connection,
    what: tuple[RunKind, str, str],
    *,
    due: datetime,
    now: datetime,
    state: RunState = RunState.DUE,
    reason: str = "",
) -> str:
    """Insert a run row inside the caller's transaction; its id. ``what``: kind, system, source."""
    kind, system, source = what
    run = f"{due:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    ended = to_ns(now) if state in FINAL else 0
    connection.execute(
        insert(runs).values(
            id=run,
            kind=kind,
            system=system,
            source=source,
            state=state,
            due_ns=to_ns(due),
            created_ns=to_ns(now),
            ended_ns=ended,
            error_code="Missed" if state == RunState.MISSED else "",
            error_message=reason,
        )
    )
    _add_step(connection, run, state, now, reason)
    return run


def miss_due(connection: Connection, what: tuple[RunKind, str, str], reason: str, now: datetime) -> None:
    """Rows of a source that are due and were never claimed become missed, inside the caller's transaction."""
    kind, system, source = what
    same = (runs.c.kind == kind, runs.c.system == system, runs.c.source == source, runs.c.state == RunState.DUE)
    for run in connection.execute(select(runs.c.id).where(*same)).scalars().all():
        values = {"state": RunState.MISSED, "ended_ns": to_ns(now), "error_code": "Missed", "error_message": reason}
        connection.execute(update(runs).where(runs.c.id == run).values(**values))
        _add_step(connection, run, RunState.MISSED, now, reason)


def _same_source(row: RowMapping) -> list[Any]:
    return [runs.c.kind == row["kind"], runs.c.system == row["system"], runs.c.source == row["source"]]


def _mark_died(connection: Connection, row: RowMapping, now: datetime) -> None:
    message = f"the controller died at step {row['state']} ({row['holder']})"
    connection.execute(
        update(runs)
        .where(runs.c.id == row["id"])
        .values(
            state=RunState.FAILED,
            ended_ns=to_ns(now),
            error_code="ControllerDied",
            error_message=message,
            error_where=row["state"],
            error_hint="the next run sends only what is missing",
        )
    )
    _add_step(connection, row["id"], RunState.FAILED, now, message)
    left_open = update(sessions).where(sessions.c.run == row["id"], sessions.c.closed_ns == 0)
    connection.execute(left_open.values(closed_ns=to_ns(now), outcome="ControllerDied"))


def _add_step(connection: Connection, run: str, step: str, now: datetime, detail: str) -> None:
    count = select(func.count()).select_from(run_steps).where(run_steps.c.run == run)
    ordinal = connection.execute(count).scalar_one()
    connection.execute(insert(run_steps).values(run=run, ordinal=ordinal, step=step, at_ns=to_ns(now), detail=detail))


def _error_columns(error: DrbackupError) -> dict[str, str]:
    where = f"{error.host}: {error.where}" if error.host and error.where else error.host or error.where
    return {
        "error_code": error.code,
        "error_message": error.message,
        "error_where": where,
        "error_hint": error.hint,
    }


def _run(row: RowMapping) -> Run:
    plain = ("id", "system", "source", "position", "holder", "fence", "host", "point", "phase")
    counts = ("content_bytes", "stored_bytes", "entries")
    errors = ("error_code", "error_message", "error_where", "error_hint")
    return Run(
        kind=RunKind(row["kind"]),
        state=RunState(row["state"]),
        due_at=from_ns(row["due_ns"]),
        created_at=from_ns(row["created_ns"]),
        started_at=from_ns_or_none(row["started_ns"]),
        ended_at=from_ns_or_none(row["ended_ns"]),
        pinned_at=from_ns_or_none(row["pinned_ns"]),
        lease_until=from_ns_or_none(row["lease_ns"]),
        **{name: row[name] for name in (*plain, *counts, *errors)},
    )
