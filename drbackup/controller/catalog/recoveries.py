"""Recoveries: their plans and the state of every step, so that one that dies goes on where it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Connection, RowMapping, delete, insert, select, update

from drbackup.controller.catalog.connection import Database
from drbackup.controller.catalog.paging import paged
from drbackup.controller.catalog.tables import recoveries, recovery_steps
from drbackup.errors import DrbackupError, Failure, UsageError, say
from drbackup.system.instants import from_ns, from_ns_or_none, to_ns
from drbackup.wire.error_fields import error_of, fields_of


class RecoveryStep(msgspec.Struct, frozen=True):
    """One step of a recovery."""

    step: str  # SYSTEM/SOURCE
    ordinal: int  # its place in the plan's order
    state: str  # the recovery module's words: waiting, running, done, failed …
    started_at: datetime | None = None
    ended_at: datetime | None = None
    detail: str = ""  # what became of it, on one line
    failure: Failure | None = None  # why it failed; ``detail`` is its line


class Recovery(msgspec.Struct, frozen=True):
    """One recovery. Instants are UTC."""

    id: str
    plan: str  # the plan, as JSON text
    state: str  # the recovery module's words
    started_at: datetime
    ended_at: datetime | None = None  # None: not over
    steps: tuple[RecoveryStep, ...] = ()


class Recoveries:
    """All recoveries of the catalog."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, recovery: Recovery) -> None:
        """A durable row of a recovery and of all its steps, before the first step starts."""
        with self._database.write() as connection:
            connection.execute(
                insert(recoveries).values(
                    id=recovery.id,
                    plan=recovery.plan,
                    state=recovery.state,
                    started_ns=to_ns(recovery.started_at),
                    ended_ns=_ns(recovery.ended_at),
                )
            )
            for step in recovery.steps:
                connection.execute(insert(recovery_steps).values(recovery=recovery.id, **_step_columns(step)))

    def step(self, recovery: str, step: RecoveryStep) -> None:
        """One step's state, durable."""
        with self._database.write() as connection:
            which = recovery_steps.c.recovery == recovery, recovery_steps.c.step == step.step
            connection.execute(delete(recovery_steps).where(*which))
            connection.execute(insert(recovery_steps).values(recovery=recovery, **_step_columns(step)))

    def state(self, recovery: str, state: str, *, ended_at: datetime | None = None) -> None:
        """The whole recovery's state, durable. Raises :class:`UsageError` for an unknown recovery."""
        with self._database.write() as connection:
            row = update(recoveries).where(recoveries.c.id == recovery)
            if connection.execute(row.values(state=state, ended_ns=_ns(ended_at))).rowcount != 1:
                raise UsageError(say("no recovery {recovery}", recovery=recovery))

    def get(self, recovery: str) -> Recovery:
        """One recovery with its steps. Raises :class:`UsageError` when there is none."""
        with self._database.read() as connection:
            rows = connection.execute(select(recoveries).where(recoveries.c.id == recovery)).mappings().all()
            found = _recoveries_of(connection, rows)
        if not found:
            raise UsageError(say("no recovery {recovery}", recovery=recovery))
        return found[0]

    def list(self) -> Iterator[Recovery]:
        """Every recovery with its steps, newest first."""
        newest_first = (recoveries.c.started_ns, True), (recoveries.c.id, True)
        return paged(self._database, select(recoveries), newest_first, _recoveries_of)


def _recoveries_of(connection: Connection, rows: Sequence[RowMapping]) -> list[Recovery]:
    steps: dict[str, list[RecoveryStep]] = {row["id"]: [] for row in rows}
    theirs = select(recovery_steps).where(recovery_steps.c.recovery.in_(list(steps)))
    for row in connection.execute(theirs.order_by(recovery_steps.c.ordinal)).mappings():
        steps[row["recovery"]].append(_step(row))
    return [
        Recovery(
            row["id"],
            row["plan"],
            row["state"],
            from_ns(row["started_ns"]),
            from_ns_or_none(row["ended_ns"]),
            tuple(steps[row["id"]]),
        )
        for row in rows
    ]


def _ns(instant: datetime | None) -> int:
    return to_ns(instant) if instant else 0


def _step_columns(step: RecoveryStep) -> dict[str, object]:
    return {
        "step": step.step,
        "ordinal": step.ordinal,
        "state": step.state,
        "started_ns": _ns(step.started_at),
        "ended_ns": _ns(step.ended_at),
        "detail": _stored(step.failure) if step.failure else step.detail,
    }


def _stored(failure: Failure) -> str:
    """A failure's fields as JSON, in the column where older rows have ``Code: message``."""
    return msgspec.json.encode({"code": failure.code, **fields_of(failure.error())}).decode()


def _failure(detail: str) -> Failure | None:
    """The failure in the detail of a new or old row, None when the detail is no failure's."""
    if detail.startswith("{"):
        fields = msgspec.json.decode(detail, type=dict[str, str])
        return Failure.of(error_of(fields.pop("code"), fields))
    read = Failure.read(detail)
    return read if read.code != DrbackupError.__name__ else None


def _step(row: RowMapping) -> RecoveryStep:
    failure = _failure(row["detail"])
    return RecoveryStep(
        row["step"],
        row["ordinal"],
        row["state"],
        from_ns_or_none(row["started_ns"]),
        from_ns_or_none(row["ended_ns"]),
        failure.line if failure else row["detail"],
        failure,
    )
