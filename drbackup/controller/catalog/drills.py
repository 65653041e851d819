"""Drills as the catalog knows them. The signed evidence in the stores is the truth; these rows are for quick answers.

A drill has its row before it starts, so one that dies stays visible: without an end and without a verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, RowMapping, Select, func, insert, select, update

from drbackup.controller.catalog.connection import Database
from drbackup.controller.catalog.paging import paged
from drbackup.controller.catalog.tables import drills
from drbackup.errors import UsageError, say
from drbackup.system.instants import from_ns, from_ns_or_none, to_ns

# Kinds: a drill that restores and judges, and one that must find a byte which we changed on purpose.
PLAIN_DRILL, NEGATIVE_DRILL = "drill", "negative-drill"
_SECOND_NS = 1_000_000_000


class Drill(msgspec.Struct, frozen=True):
    """One drill. Instants are UTC."""

    id: str
    system: str
    kind: str  # PLAIN_DRILL or NEGATIVE_DRILL
    planned_at: datetime  # when it was due
    started_at: datetime
    ended_at: datetime | None = None  # None: under way, or its controller died
    verdict: str = ""  # as drbackup.model.verdict says it; empty without an end
    host: str = ""  # the agent on the drill host
    points: tuple[str, ...] = ()  # their ids
    evidence: str = ""  # the SHA-256 of its evidence, hex; empty: none
    rto_seconds: float | None = None  # measured; None: not measured
    rpo_seconds: float | None = None  # measured; None: not measured
    findings: tuple[str, ...] = ()  # one line each


class Drills:
    """All drills of the catalog."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, drill: Drill) -> None:
        """A durable row of a drill that has not started yet."""
        with self._database.write() as connection:
            connection.execute(insert(drills).values(**_columns(drill)))

    def end(self, drill: Drill) -> None:
        """The outcome of a drill that began, durable. Raises :class:`UsageError` when the drill has no row."""
        with self._database.write() as connection:
            if (
                connection.execute(update(drills).where(drills.c.id == drill.id).values(**_columns(drill))).rowcount
                != 1
            ):
                raise UsageError(say("no drill {id}", id=drill.id))

    def adopt(self, drill: Drill) -> None:
        """A durable row of a drill that signed evidence tells of. A row that is there already is replaced."""
        with self._database.write() as connection:
            known = connection.execute(select(drills.c.id).where(drills.c.id == drill.id)).first()
            columns = _columns(drill)
            if known is None:
                connection.execute(insert(drills).values(**columns))
            else:
                connection.execute(update(drills).where(drills.c.id == drill.id).values(**columns))

    def get(self, drill: str) -> Drill:
        """One drill by its id. Raises :class:`UsageError` when there is none."""
        with self._database.read() as connection:
            row = connection.execute(select(drills).where(drills.c.id == drill)).mappings().one_or_none()
        if row is None:
            raise UsageError(say("no drill {drill}", drill=drill), hint="see: drbackup drill list")
        return _drill(row)

    def list(self, *, system: str = "") -> Iterator[Drill]:
        """Every drill, of one system or of all, newest first."""
        return paged(self._database, _chosen(system), _NEWEST_FIRST, _drills_of)

    def newest(self, count: int, *, system: str = "") -> Sequence[Drill]:
        """The first ``count`` drills of :meth:`list`, for one page of a list."""
        query = _chosen(system).order_by(*(column.desc() for column, _falls in _NEWEST_FIRST)).limit(count)
        with self._database.read() as connection:
            return [_drill(row) for row in connection.execute(query).mappings()]

    def count(self, *, system: str = "") -> int:
        """The number of drills that :meth:`list` gives."""
        with self._database.read() as connection:
            return int(connection.execute(select(func.count()).select_from(_chosen(system).subquery())).scalar_one())

    def between(self, begin: datetime, end: datetime, *, system: str) -> Iterator[Drill]:
        """A system's drills that started from ``begin`` on and before ``end``, newest first."""
        inside = drills.c.started_ns >= to_ns(begin), drills.c.started_ns < to_ns(end)
        return paged(self._database, _chosen(system).where(*inside), _NEWEST_FIRST, _drills_of)

    def under_way(self) -> Iterator[Drill]:
        """Every drill without an end, newest first: it is being run, or its controller died."""
        return paged(self._database, _chosen().where(drills.c.ended_ns == 0), _NEWEST_FIRST, _drills_of)

    def last(self, system: str) -> Drill | None:
        """The newest drill of a system that has ended, None without one."""
        return next((drill for drill in self.list(system=system) if drill.ended_at), None)


_NEWEST_FIRST = (drills.c.started_ns, True), (drills.c.id, True)


def _chosen(system: str = "") -> Select[Any]:
    """A query for a system's drills; with an empty name, for those of all systems."""
    query = select(drills)
    return query.where(drills.c.system == system) if system else query


def _drills_of(_connection: Connection, rows: Iterable[RowMapping]) -> Iterable[Drill]:
    return map(_drill, rows)


def _columns(drill: Drill) -> dict[str, object]:
    return {
        "id": drill.id,
        "system": drill.system,
        "kind": drill.kind,
        "planned_ns": to_ns(drill.planned_at),
        "started_ns": to_ns(drill.started_at),
        "ended_ns": to_ns(drill.ended_at) if drill.ended_at else 0,
        "verdict": drill.verdict,
        "host": drill.host,
        "points": msgspec.json.encode(drill.points).decode(),
        "evidence": drill.evidence,
        "rto_ns": _to_span(drill.rto_seconds),
        "rpo_ns": _to_span(drill.rpo_seconds),
        "findings": msgspec.json.encode(drill.findings).decode(),
    }


def _drill(row: RowMapping) -> Drill:
    return Drill(
        id=row["id"],
        system=row["system"],
        kind=row["kind"],
        planned_at=from_ns(row["planned_ns"]),
        started_at=from_ns(row["started_ns"]),
        ended_at=from_ns_or_none(row["ended_ns"]),
        verdict=row["verdict"],
        host=row["host"],
        points=msgspec.json.decode(row["points"], type=tuple[str, ...]),
        evidence=row["evidence"],
        rto_seconds=_from_span(row["rto_ns"]),
        rpo_seconds=_from_span(row["rpo_ns"]),
        findings=msgspec.json.decode(row["findings"], type=tuple[str, ...]),
    )


def _to_span(seconds: float | None) -> int | None:
    return None if seconds is None else timedelta(seconds=seconds) // timedelta(microseconds=1) * 1000


def _from_span(ns: int | None) -> float | None:
    return None if ns is None else ns / _SECOND_NS
