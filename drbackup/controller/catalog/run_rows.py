"""Runs and the rows they are kept in. Who may change a row is decided by :mod:`drbackup.controller.catalog.runs`."""

from __future__ import annotations

import enum
import secrets
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, RowMapping, func, insert, select, update

from drbackup.controller.catalog.tables import run_steps, runs, sessions
from drbackup.errors import DrbackupError
from drbackup.system.instants import from_ns, from_ns_or_none, to_ns


class RunKind(enum.StrEnum):
    """What a run executes."""

    BACKUP = "backup"
    DRILL = "drill"
    RESTORE = "restore"
    RECOVER = "recover"
    SCRUB = "scrub"  # of a store, which is named where other runs have their source


class RunState(enum.StrEnum):
    """The states of a run, in their order. The last three are final."""

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
DIED = "ControllerDied"  # an error's code: another process ended the run, because its lease had run out
LEFT = "left"  # a step, no state: the process that lost the run knows it, and does nothing for it any more
SETTLED = "settled"  # a step, no state: the store was asked whether a failed commit had happened
ACTIVE = frozenset(RunState) - FINAL - {RunState.DUE}


class Run(msgspec.Struct, frozen=True):
    """One run as the lists show it. Instants are UTC."""

    id: str
    kind: RunKind
    system: str
    source: str  # a scrub: the store's name
    state: RunState
    due_at: datetime
    created_at: datetime
    started_at: datetime | None  # when it was claimed
    ended_at: datetime | None
    pinned_at: datetime | None  # the instant that the agent copied
    position: str  # what the agent pinned: LSN, GTID, snapshot id
    holder: str  # drbackup.controller.catalog.holder
    lease_until: datetime | None
    fence: int  # grows with every claim of the source
    host: str  # the agent's name
    point: str  # the id of what it committed; empty: nothing
    error_code: str  # empty: no error
    error_message: str
    error_where: str
    error_hint: str
    content_bytes: int  # of the source's content, so far
    stored_bytes: int  # added to the store so far
    entries: int  # of the source's tree, so far
    phase: str

    @property
    def active(self) -> bool:
        """Whether the run was claimed and has not ended."""
        return self.state in ACTIVE


class RunStep(msgspec.Struct, frozen=True):
    """One step that a run reached."""

    step: str  # a RunState, or LEFT, or SETTLED
    at: datetime  # UTC
    detail: str


class LeaseRequest(msgspec.Struct, frozen=True):
    """A lease that a process asks for."""

    holder: str  # who asks: drbackup.controller.catalog.holder
    now: datetime
    until: datetime  # the lease's end, if it is not renewed


class Counters(msgspec.Struct, frozen=True):
    """The progress of a run so far."""

    phase: str
    content_bytes: int  # of the source's content
    stored_bytes: int  # added to the store
    entries: int  # of the source's tree


class Claim(msgspec.Struct, frozen=True):
    """The right to work on one run."""

    run: str
    kind: RunKind
    system: str
    source: str
    holder: str
    fence: int  # higher than that of every earlier claim of the source


def insert_run(
    connection: Connection,
    what: tuple[RunKind, str, str],
    *,
    due: datetime,
    now: datetime,
    state: RunState = RunState.DUE,
    reason: str = "",
) -> str:
    """The id of a new run, inserted inside the caller's transaction. ``what``: (kind, system, source)."""
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
    add_step(connection, run, state, now, reason)
    return run


def miss_due(connection: Connection, what: tuple[RunKind, str, str], reason: str, now: datetime) -> None:
    """Runs of a source that were due and never claimed, now missed: inside the caller's transaction."""
    kind, system, source = what
    same = (runs.c.kind == kind, runs.c.system == system, runs.c.source == source, runs.c.state == RunState.DUE)
    for run in connection.execute(select(runs.c.id).where(*same)).scalars().all():
        values = {"state": RunState.MISSED, "ended_ns": to_ns(now), "error_code": "Missed", "error_message": reason}
        connection.execute(update(runs).where(runs.c.id == run).values(**values))
        add_step(connection, run, RunState.MISSED, now, reason)


def same_source(row: RowMapping) -> list[Any]:
    """Conditions of a query for the runs of the same kind and source."""
    return [runs.c.kind == row["kind"], runs.c.system == row["system"], runs.c.source == row["source"]]


def mark_died(connection: Connection, row: RowMapping, now: datetime) -> None:
    """A run whose holder is gone, now failed at the step it had reached. Its sessions are closed."""
    message = f"the controller died at step {row['state']} ({row['holder']})"
    connection.execute(
        update(runs)
        .where(runs.c.id == row["id"])
        .values(
            state=RunState.FAILED,
            ended_ns=to_ns(now),
            error_code=DIED,
            error_message=message,
            error_where=row["state"],
            error_hint="the next run sends only what is missing",
        )
    )
    add_step(connection, row["id"], RunState.FAILED, now, message)
    left_open = update(sessions).where(sessions.c.run == row["id"], sessions.c.closed_ns == 0)
    connection.execute(left_open.values(closed_ns=to_ns(now), outcome=DIED))


def add_step(connection: Connection, run: str, step: str, now: datetime, detail: str) -> None:
    """One more step of a run, inside the caller's transaction."""
    count = select(func.count()).select_from(run_steps).where(run_steps.c.run == run)
    ordinal = connection.execute(count).scalar_one()
    connection.execute(insert(run_steps).values(run=run, ordinal=ordinal, step=step, at_ns=to_ns(now), detail=detail))


def error_columns(error: DrbackupError) -> dict[str, str]:
    """An error as a run's columns keep it."""
    where = f"{error.host}: {error.where}" if error.host and error.where else error.host or error.where
    return {
        "error_code": error.code,
        "error_message": error.message,
        "error_where": where,
        "error_hint": error.hint,
    }


def run_of(row: RowMapping) -> Run:
    """The run of a row."""
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
