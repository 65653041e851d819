"""What a run is, and the rows it is kept in. The rules of who may change them are ``runs.py``'s."""

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
    """What is being executed."""

    BACKUP = "backup"
    DRILL = "drill"
    RESTORE = "restore"
    RECOVER = "recover"
    SCRUB = "scrub"  # of a store, which stands where other runs have their source


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
DIED = "ControllerDied"  # an error's code: somebody else ended the run, because its lease had run out
LEFT = "left"  # a step, no state: who had lost the run has heard of it, and does nothing for it any more
SETTLED = "settled"  # a step, no state: the store was asked whether a failed commit had happened
ACTIVE = frozenset(RunState) - FINAL - {RunState.DUE}


class Run(msgspec.Struct, frozen=True):
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


class RunStep(msgspec.Struct, frozen=True):
    """One step that a run reached."""

    step: str
    at: datetime
    detail: str


class LeaseRequest(msgspec.Struct, frozen=True):
    """Who wants a run, and until when its lease shall hold if nothing is heard of the holder."""

    holder: str
    now: datetime
    until: datetime


class Counters(msgspec.Struct, frozen=True):
    """How far a run is. Bytes."""

    phase: str
    content_bytes: int
    stored_bytes: int
    entries: int


class Claim(msgspec.Struct, frozen=True):
    """The right to work on one run."""

    run: str
    kind: RunKind
    system: str
    source: str
    holder: str
    fence: int


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
    add_step(connection, run, state, now, reason)
    return run


def miss_due(connection: Connection, what: tuple[RunKind, str, str], reason: str, now: datetime) -> None:
    """Rows of a source that are due and were never claimed become missed, inside the caller's transaction."""
    kind, system, source = what
    same = (runs.c.kind == kind, runs.c.system == system, runs.c.source == source, runs.c.state == RunState.DUE)
    for run in connection.execute(select(runs.c.id).where(*same)).scalars().all():
        values = {"state": RunState.MISSED, "ended_ns": to_ns(now), "error_code": "Missed", "error_message": reason}
        connection.execute(update(runs).where(runs.c.id == run).values(**values))
        add_step(connection, run, RunState.MISSED, now, reason)


def same_source(row: RowMapping) -> list[Any]:
    """What a query needs to find the runs of the same kind and source."""
    return [runs.c.kind == row["kind"], runs.c.system == row["system"], runs.c.source == row["source"]]


def mark_died(connection: Connection, row: RowMapping, now: datetime) -> None:
    """The holder is gone: the run is failed at the step it had reached, its sessions are over."""
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
    """Append a step inside the caller's transaction."""
    count = select(func.count()).select_from(run_steps).where(run_steps.c.run == run)
    ordinal = connection.execute(count).scalar_one()
    connection.execute(insert(run_steps).values(run=run, ordinal=ordinal, step=step, at_ns=to_ns(now), detail=detail))


def error_columns(error: DrbackupError) -> dict[str, str]:
    """An error as the columns keep it."""
    where = f"{error.host}: {error.where}" if error.host and error.where else error.host or error.where
    return {
        "error_code": error.code,
        "error_message": error.message,
        "error_where": where,
        "error_hint": error.hint,
    }


def run_of(row: RowMapping) -> Run:
    """A row as the lists show it."""
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
