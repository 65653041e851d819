"""Schedules: the instants that were due and that are next, so that a controller knows what it missed while stopped."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, RowMapping, delete, insert, select, update

from drbackup.controller.catalog.connection import Database
from drbackup.controller.catalog.runs import RunKind, RunState, insert_run, miss_due
from drbackup.controller.catalog.tables import schedules
from drbackup.system.instants import from_ns, from_ns_or_none, to_ns


class Schedule(msgspec.Struct, frozen=True):
    """What is known of one source's schedule, or of one system's drills. Instants are UTC."""

    kind: RunKind
    system: str
    source: str  # empty: the system's drills
    last_due: datetime | None  # None: never yet
    next_due: datetime
    fingerprint: str  # of the policy's schedule: when it changes, the next instant is computed anew


class Miss(msgspec.Struct, frozen=True):
    """One instant when a run was due and did not begin, and why."""

    due: datetime  # UTC
    reason: str


class Schedules:
    """All schedules of the catalog."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self) -> list[Schedule]:
        """Every schedule, by kind, system and source."""
        order = schedules.c.kind, schedules.c.system, schedules.c.source
        with self._database.read() as connection:
            return [_schedule(row) for row in connection.execute(select(schedules).order_by(*order)).mappings()]

    def get(self, kind: RunKind, system: str, source: str = "") -> Schedule | None:
        """One schedule, None when the controller has never seen it."""
        with self._database.read() as connection:
            row = connection.execute(select(schedules).where(*_which(kind, system, source))).mappings().one_or_none()
        return _schedule(row) if row else None

    def advance(self, schedule: Schedule, *, due: datetime | None, missed: tuple[Miss, ...], now: datetime) -> str:
        """The id of the new run that is due, empty without one: one transaction writes it with all that follows.

        Written are a missed run for each of ``missed``, a due run for ``due``, and the schedule's new instants. An
        older run of the source that is still due becomes missed, because the new run is enough for both. A crash leaves
        all of it or nothing, so no instant is counted twice or lost.
        """
        what = (schedule.kind, schedule.system, schedule.source)
        run = ""
        with self._database.write() as connection:
            for miss in missed:
                insert_run(connection, what, due=miss.due, now=now, state=RunState.MISSED, reason=miss.reason)
            if due is not None:
                miss_due(connection, what, "a later run was due before this one could start", now)
                run = insert_run(connection, what, due=due, now=now)
            columns = {
                "last_due_ns": to_ns(schedule.last_due) if schedule.last_due else 0,
                "next_due_ns": to_ns(schedule.next_due),
                "fingerprint": schedule.fingerprint,
            }
            changed = connection.execute(update(schedules).where(*_which(*what)).values(**columns)).rowcount
            if not changed:
                key = {"kind": schedule.kind, "system": schedule.system, "source": schedule.source}
                connection.execute(insert(schedules).values(**key, **columns))
        return run

    def drop(self, kind: RunKind, system: str, source: str, *, now: datetime) -> None:
        """The end of a schedule that no policy names any more. What was due is missed; what has run stays."""
        with self._database.write() as connection:
            miss_due(connection, (kind, system, source), "the policies no longer name it", now)
            connection.execute(delete(schedules).where(*_which(kind, system, source)))


def _which(kind: RunKind, system: str, source: str) -> tuple[ColumnElement[bool], ...]:
    return schedules.c.kind == kind, schedules.c.system == system, schedules.c.source == source


def _schedule(row: RowMapping) -> Schedule:
    return Schedule(
        RunKind(row["kind"]),
        row["system"],
        row["source"],
        from_ns_or_none(row["last_due_ns"]),
        from_ns(row["next_due_ns"]),
        row["fingerprint"],
    )
