"""Runs: one row for every execution of anything, kept for ever. Each step is durable before the next begins.

A run is claimed under a lease with a fencing number, which grows with every claim of its source. A process with an
older number can't write another step; it gets :class:`~drbackup.errors.RunLost`. At most one run of a kind and source
is active at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, func, select, update

from drbackup.controller.catalog.connection import Database
from drbackup.controller.catalog.paging import paged
from drbackup.controller.catalog.run_rows import (
    ACTIVE,
    DIED,
    FINAL,
    LEFT,
    SETTLED,
    Claim,
    Counters,
    LeaseRequest,
    Run,
    RunKind,
    RunState,
    RunStep,
    add_step,
    error_columns,
    insert_run,
    mark_died,
    miss_due,
    run_of,
    same_source,
)
from drbackup.controller.catalog.tables import run_steps, runs
from drbackup.errors import DrbackupError, RunActive, RunLost, UsageError, say
from drbackup.system.instants import from_ns, to_ns

__all__ = [
    "ACTIVE",
    "FINAL",
    "Claim",
    "Counters",
    "LeaseRequest",
    "Run",
    "RunKind",
    "RunState",
    "RunStep",
    "Runs",
    "insert_run",
    "miss_due",
]


class Runs:
    """All runs of the catalog."""

    def __init__(
        self, database: Database, dead: Callable[[str], bool], here: Callable[[str], bool] = lambda _holder: False
    ) -> None:
        """``dead`` tells whether a lease's holder is certainly gone, before the lease has run out.

        ``here`` tells whether a holder is certainly there, also when its lease ran out long ago.
        """
        self._database = database
        self._dead = dead
        self._here = here

    # --- from due to claimed ---

    def add(self, kind: RunKind, system: str, source: str, *, due: datetime, now: datetime) -> str:
        """The id of a new run that is due."""
        with self._database.write() as connection:
            return insert_run(connection, (kind, system, source), due=due, now=now)

    def start(
        self, kind: RunKind, system: str, source: str, *, lease: LeaseRequest, due: datetime | None = None
    ) -> Claim:
        """The claim of a new run. Raises :class:`RunActive` while another run is active; then there is no new row."""
        with self._database.write() as connection:
            run = insert_run(connection, (kind, system, source), due=due or lease.now, now=lease.now)
            return self._claim(connection, run, lease)

    def claim(self, run: str, lease: LeaseRequest) -> Claim:
        """The claim of a run that is due.

        A run of the same source whose holder is gone, or whose lease is over, is first marked as failed.

        Raises :class:`RunActive` while another run of the source is active, and :class:`UsageError` when the run is not
        due.
        """
        with self._database.write() as connection:
            return self._claim(connection, run, lease)

    def _claim(self, connection: Connection, run: str, lease: LeaseRequest) -> Claim:
        now = lease.now
        row = connection.execute(select(runs).where(runs.c.id == run)).mappings().one_or_none()
        if row is None or row["state"] != RunState.DUE:
            raise UsageError(say("run {run} is {state}, not due", run=run, state=row["state"] if row else "unknown"))
        same = same_source(row)
        for other in connection.execute(select(runs).where(*same, runs.c.state.in_(ACTIVE))).mappings():
            if not self._abandoned(other, now):
                raise RunActive(
                    say(
                        "{system}/{source}: run {id} is {state}",
                        system=other["system"],
                        source=other["source"],
                        id=other["id"],
                        state=other["state"],
                    ),
                    where=str(other["holder"]),
                )
            mark_died(connection, other, now)
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
        add_step(connection, run, RunState.CLAIMED, now, lease.holder)
        return claim

    def renew(self, claim: Claim, *, until: datetime, counters: Counters | None = None) -> None:
        """A lease that holds until ``until``, and the latest counters, durable. Raises :class:`RunLost`."""
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
        """A run that is in ``state``, durably. Raises :class:`RunLost` when the run was taken over."""
        if state in FINAL:
            columns["ended_ns"] = to_ns(now)
        self._change(claim, {"state": state, **columns}, step=(state, now, detail))

    def fail(self, claim: Claim, error: DrbackupError, *, now: datetime) -> None:
        """A run that failed with this error, durably. Raises :class:`RunLost` when the run was taken over."""
        self.step(claim, RunState.FAILED, now=now, detail=error.code, **error_columns(error))

    def note_error(self, claim: Claim, error: DrbackupError) -> None:
        """An error in the row of a run that goes on, or that was committed in part. Raises :class:`RunLost`."""
        self._change(claim, error_columns(error), active_only=False)

    def mark_dead(self, *, now: datetime) -> list[Run]:
        """All active runs whose holder is gone or whose lease is over, as they were; they are failed now.

        Called when a daemon starts.
        """
        with self._database.write() as connection:
            rows = list(connection.execute(select(runs).where(runs.c.state.in_(ACTIVE))).mappings())
            gone = [row for row in rows if self._abandoned(row, now)]
            for row in gone:
                mark_died(connection, row, now)
        return [run_of(row) for row in gone]

    def leave(self, run: str, *, now: datetime) -> None:
        """A durable note that the process which lost the run does nothing for it any more."""
        with self._database.write() as connection:
            add_step(connection, run, LEFT, now, "")

    def standing_still(self) -> dict[str, str]:
        """Agent → a backup of it that may still commit although its lease is over.

        Its process was stopped by a signal, is still there, and goes on where it was when it is continued.
        """
        left = select(run_steps.c.run).where(run_steps.c.step == LEFT)
        lost = runs.c.state.in_(ACTIVE) | ((runs.c.state == RunState.FAILED) & (runs.c.error_code == DIED))
        query = select(runs.c.host, runs.c.id, runs.c.holder).where(
            runs.c.kind == RunKind.BACKUP, runs.c.host != "", lost, runs.c.id.not_in(left)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return {row.host: row.id for row in rows if self._here(row.holder)}

    def unsettled(self, system: str, source: str = "") -> list[Run]:
        """Failed backups that were committing, and whose record nobody has looked for in the store yet."""
        began = select(run_steps.c.run).where(run_steps.c.step == RunState.COMMITTING)
        looked = select(run_steps.c.run).where(run_steps.c.step == SETTLED)
        query = select(runs).where(
            runs.c.state == RunState.FAILED, runs.c.system == system, runs.c.id.in_(began), runs.c.id.not_in(looked)
        )
        if source:
            query = query.where(runs.c.source == source)
        with self._database.read() as connection:
            return [run_of(row) for row in connection.execute(query).mappings()]

    def settle(self, run: str, point: str, *, now: datetime, detail: str) -> None:
        """A durable note of what was found when the record of a failed run was looked for.

        ``point``: the id of what the run had committed after all; empty: it had not.
        """
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
            add_step(connection, run, SETTLED, now, detail)

    # --- reading ---

    def get(self, run: str) -> Run:
        """One run by its id. Raises :class:`UsageError` when there is none."""
        with self._database.read() as connection:
            row = connection.execute(select(runs).where(runs.c.id == run)).mappings().one_or_none()
        if row is None:
            raise UsageError(say("no run {run}", run=run))
        return run_of(row)

    def list(
        self, *, kind: RunKind | None = None, system: str = "", source: str = "", states: Iterable[RunState] = ()
    ) -> Iterator[Run]:
        """Every run, newest first by the time it was due. Empty values mean all."""
        return paged(self._database, _chosen(kind, system, source, states), _NEWEST_FIRST, _runs_of)

    def last(self, kind: RunKind, system: str = "", source: str = "", *, states: Iterable[RunState] = ()) -> Run | None:
        """The run that was due last, in any state or in one of ``states``; None without one."""
        query = _chosen(kind, system, source, states).order_by(*(column.desc() for column, _falls in _NEWEST_FIRST))
        with self._database.read() as connection:
            row = connection.execute(query.limit(1)).mappings().one_or_none()
        return run_of(row) if row else None

    def due(self, now: datetime) -> Iterator[Run]:
        """Every run that waits to be started at ``now``; the one that waits longest is first."""
        query = select(runs).where(runs.c.state == RunState.DUE, runs.c.due_ns <= to_ns(now))
        return paged(self._database, query, [(column, False) for column, _falls in _NEWEST_FIRST], _runs_of)

    def between(self, begin: datetime, end: datetime, *, kind: RunKind, system: str) -> Iterator[Run]:
        """A system's runs that were due from ``begin`` on and before ``end``, newest first."""
        inside = runs.c.due_ns >= to_ns(begin), runs.c.due_ns < to_ns(end)
        return paged(self._database, _chosen(kind, system).where(*inside), _NEWEST_FIRST, _runs_of)

    def first_commits(self, system: str) -> dict[str, datetime]:
        """Source → when its first committed backup ended."""
        first = select(runs.c.source, func.min(runs.c.ended_ns)).group_by(runs.c.source)
        over = runs.c.ended_ns > 0
        with self._database.read() as connection:
            rows = connection.execute(first.where(*_wanted(RunKind.BACKUP, system, "", [RunState.COMMITTED]), over))
            return {source: from_ns(ended_ns) for source, ended_ns in rows.all()}

    def steps(self, run: str) -> tuple[RunStep, ...]:
        """Every step of a run, in order."""
        query = select(run_steps).where(run_steps.c.run == run).order_by(run_steps.c.ordinal)
        with self._database.read() as connection:
            return tuple(
                RunStep(row["step"], from_ns(row["at_ns"]), row["detail"])
                for row in connection.execute(query).mappings()
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
            # The statement that writes also checks the fence, so no other process can act in between.
            if connection.execute(update(runs).where(*ours).values(**columns)).rowcount != 1:
                raise RunLost(
                    say(
                        "{system}/{source}: run {run} was taken over or ended",
                        system=claim.system,
                        source=claim.source,
                        run=claim.run,
                    ),
                    where=claim.run,
                )
            if step is not None:
                add_step(connection, claim.run, *step)


_NEWEST_FIRST = (runs.c.due_ns, True), (runs.c.created_ns, True), (runs.c.id, True)


def _wanted(
    kind: RunKind | None, system: str, source: str, states: Iterable[RunState] = ()
) -> Iterator[ColumnElement[bool]]:
    """The conditions for runs of a kind, system and source in one of ``states``. Empty values mean all."""
    for column, value in ((runs.c.kind, kind), (runs.c.system, system), (runs.c.source, source)):
        if value:
            yield column == value
    if chosen := list(states):
        yield runs.c.state.in_(chosen)


def _chosen(kind: RunKind | None, system: str = "", source: str = "", states: Iterable[RunState] = ()) -> Select[Any]:
    return select(runs).where(*_wanted(kind, system, source, states))


def _runs_of(_connection: Connection, rows: Iterable[RowMapping]) -> Iterable[Run]:
    return map(run_of, rows)
