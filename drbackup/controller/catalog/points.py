"""Recovery points as the catalog knows them: what was committed, which stores have it, how far it was proven.

A point whose removal began (:meth:`drbackup.controller.catalog.lifecycle.Lifecycle.mark`) is in no list any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, exists, func, insert, select, update

from drbackup.controller.catalog.connection import Database
from drbackup.controller.catalog.paging import paged
from drbackup.controller.catalog.tables import point_copies, points
from drbackup.errors import PointMissing, say
from drbackup.model.point import Point, Rung, Totals
from drbackup.system.instants import from_ns, to_ns


class Points:
    """All committed points. A point is never removed here by a failure or by a newer point."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, point: Point, *, session: str, previous: str = "") -> None:
        """A committed point and its copies, known from now on. Again with the same id: only new copies are added."""
        with self._database.write() as connection:
            known = connection.execute(select(points.c.id).where(points.c.id == point.id)).first()
            if known is None:
                connection.execute(insert(points).values(**_columns(point, session, previous)))
            for store in point.copies:
                _add_copy(connection, point.id, store, point.committed_at)

    def add_copy(self, point: str, store: str, *, now: datetime) -> None:
        """A durable note that another store holds the whole point. A point that is not known stays unknown."""
        with self._database.write() as connection:
            if connection.execute(select(points.c.id).where(points.c.id == point)).first() is not None:
                _add_copy(connection, point, store, now)

    def climb(self, point: str, rung: Rung, *, now: datetime) -> None:
        """A point that was proven up to ``rung``, or stays on a higher rung that it has."""
        with self._database.write() as connection:
            connection.execute(
                update(points)
                .where(points.c.id == point, points.c.rung <= int(rung))
                .values(rung=int(rung), rung_ns=to_ns(now))
            )

    def fall(self, point: str, *, now: datetime) -> None:
        """A point on the lowest rung, because a copy was found damaged: nothing above it is claimed any more."""
        with self._database.write() as connection:
            connection.execute(
                update(points).where(points.c.id == point).values(rung=int(Rung.WRITTEN), rung_ns=to_ns(now))
            )

    def hold(self, point: str, reason: str) -> None:
        """A point that is held for a reason, or not held any more with an empty one. Raises :class:`PointMissing`."""
        with self._database.write() as connection:
            there = points.c.id == point, points.c.collected_ns == 0
            if connection.execute(update(points).where(*there).values(held=reason)).rowcount != 1:
                raise PointMissing(say("no recovery point {point}", point=point))

    def list(self, *, system: str = "", source: str = "", store: str = "") -> Iterator[Point]:
        """Every point, newest first by its commit; ``store``: with a copy there. An empty name means all."""
        return paged(self._database, _chosen(system, source, store), _NEWEST_FIRST, _points_of)

    def newest(self, count: int, *, system: str = "", source: str = "", store: str = "") -> Sequence[Point]:
        """The first ``count`` points of :meth:`list`, for one page of a list."""
        return self._read(_chosen(system, source, store).order_by(*_NEWEST).limit(count))

    def count(self, *, system: str = "", source: str = "", store: str = "") -> int:
        """The number of points that :meth:`list` gives."""
        chosen = _chosen(system, source, store).subquery()
        with self._database.read() as connection:
            return int(connection.execute(select(func.count()).select_from(chosen)).scalar_one())

    def places(self, wanted: Iterable[str]) -> frozenset[tuple[str, str]]:
        """The (system, source) pairs of the points with these ids. Points that are not known are left out."""
        ids, found = list(wanted), set()
        query = select(points.c.system, points.c.source).where(points.c.collected_ns == 0).distinct()
        with self._database.read() as connection:
            for begin in range(0, len(ids), _BATCH):
                some = points.c.id.in_(ids[begin : begin + _BATCH])
                found |= {(system, source) for system, source in connection.execute(query.where(some))}
        return frozenset(found)

    def last(self, system: str, source: str) -> Point | None:
        """The newest committed point of a source, None without one."""
        return self._one(_chosen(system, source).order_by(*_NEWEST))

    def newest_whole(self, system: str, source: str) -> Point | None:
        """The newest point of a source with a copy that is not known to be damaged, None without one.

        It is what protects the source now.
        """
        whole = exists().where(point_copies.c.point == points.c.id, point_copies.c.read_ns >= 0)
        return self._one(_chosen(system, source).where(whole).order_by(*_NEWEST))

    def at_or_before(self, instant: datetime, system: str, source: str) -> Point | None:
        """The point of a source with the newest data that is not newer than ``instant``, None without one."""
        query = _chosen(system, source).where(points.c.pinned_ns <= to_ns(instant))
        return self._one(query.order_by(points.c.pinned_ns.desc(), *_NEWEST))

    def of_session(self, session: str, system: str, source: str) -> Point | None:
        """The point of a source that a session wrote, None when the session committed nothing."""
        return self._one(_chosen(system, source).where(points.c.session == session).order_by(*_NEWEST))

    def between(self, begin: datetime, end: datetime, *, system: str) -> Iterator[Point]:
        """A system's points that were committed from ``begin`` on and before ``end``, newest first."""
        inside = points.c.committed_ns >= to_ns(begin), points.c.committed_ns < to_ns(end)
        return paged(self._database, _chosen(system).where(*inside), _NEWEST_FIRST, _points_of)

    def first_commits(self, system: str) -> dict[str, datetime]:
        """Source → when its oldest point that is still there was committed."""
        first = select(points.c.source, func.min(points.c.committed_ns)).group_by(points.c.source)
        with self._database.read() as connection:
            rows = connection.execute(first.where(points.c.system == system, points.c.collected_ns == 0)).all()
        return {source: from_ns(committed_ns) for source, committed_ns in rows}

    def get(self, word: str, *, system: str = "", source: str = "") -> Point:
        """The point an operator means: an id, a unique beginning of one (≥ 4 characters), or ``latest``.

        Raises :class:`PointMissing` when no point fits, or several do.
        """
        if word == "latest":
            found = self.newest(1, system=system, source=source)
        else:
            begins = func.substr(points.c.id, 1, len(word)) == word.lower()
            found = self._read(_chosen(system, source).where(begins).limit(2)) if len(word) >= 4 else ()
        if word == "latest" and not found:
            place = f"{system}/{source}".lstrip("/")
            raise PointMissing(
                say("{place} has no recovery point yet", place=place) if place else say("has no recovery point yet"),
                hint=say("back it up: drbackup backup {system}/{source}", system=system, source=source)
                if source
                else "see: drbackup status",
            )
        if not found:
            place = f"{system}/{source}" if source else system
            raise PointMissing(
                say("no recovery point {word} of {place}", word=word, place=place)
                if place
                else say("no recovery point {word}", word=word)
            )
        if len(found) > 1:
            raise PointMissing(
                say("{word} is the beginning of several recovery points", word=word), hint="write more of its id"
            )
        return found[0]

    def previous(self, system: str, source: str) -> str:
        """The id of a source's newest point, empty without one. The next record has it as ``previous``."""
        newest = self.last(system, source)
        return newest.id if newest else ""

    def lacking(self, system: str, source: str, store: str) -> Iterator[Point]:
        """Every point of a source without a copy in ``store``, oldest first.

        In this order the chain of records in the store grows without a gap.
        """
        there = exists().where(point_copies.c.point == points.c.id, point_copies.c.store == store)
        return paged(self._database, _chosen(system, source).where(~there), _OLDEST_FIRST, _points_of)

    def known(self, store: str = "") -> frozenset[str]:
        """The record names of all known points; with ``store``, of those that have a copy there."""
        query = select(points.c.name)
        if store:
            here = (point_copies.c.point == points.c.id) & (point_copies.c.store == store)
            query = select(points.c.name).join(point_copies, here)
        with self._database.read() as connection:
            return frozenset(connection.execute(query).scalars())

    def _one(self, query: Select[Any]) -> Point | None:
        found = self._read(query.limit(1))
        return found[0] if found else None

    def _read(self, query: Select[Any]) -> Sequence[Point]:
        with self._database.read() as connection:
            return _points_of(connection, connection.execute(query).mappings().all())


_NEWEST = points.c.committed_ns.desc(), points.c.id
_NEWEST_FIRST = (points.c.committed_ns, True), (points.c.id, False)
_OLDEST_FIRST = (points.c.committed_ns, False), (points.c.id, False)
_BATCH = 500  # ids in one query


def _chosen(system: str = "", source: str = "", store: str = "") -> Select[Any]:
    """A query for points that are not being removed. An empty name means all."""
    query = select(points).where(points.c.collected_ns == 0)
    if system:
        query = query.where(points.c.system == system)
    if source:
        query = query.where(points.c.source == source)
    if store:
        query = query.where(exists().where(point_copies.c.point == points.c.id, point_copies.c.store == store))
    return query


def _points_of(connection: Connection, rows: Sequence[RowMapping]) -> list[Point]:
    copies: dict[str, list[str]] = {row["id"]: [] for row in rows}
    ids = list(copies)
    for begin in range(0, len(ids), _BATCH):
        which = point_copies.c.point.in_(ids[begin : begin + _BATCH])
        where = select(point_copies.c.point, point_copies.c.store).where(which)
        for point, store in connection.execute(where.order_by(point_copies.c.point, point_copies.c.store)):
            copies[point].append(store)
    return [_point(row, tuple(copies[row["id"]])) for row in rows]


def _add_copy(connection: Connection, point: str, store: str, now: datetime) -> None:
    there = select(point_copies.c.point).where(point_copies.c.point == point, point_copies.c.store == store)
    if connection.execute(there).first() is None:
        connection.execute(insert(point_copies).values(point=point, store=store, committed_ns=to_ns(now)))


def _columns(point: Point, session: str, previous: str) -> dict[str, object]:
    totals = point.totals
    return {
        "id": point.id,
        "name": point.name,
        "system": point.system,
        "source": point.source,
        "domain": point.domain,
        "kind": point.kind,
        "session": session,
        "pinned_ns": to_ns(point.pinned_at),
        "committed_ns": to_ns(point.committed_at),
        "previous": previous,
        "grouped": point.group,
        "entries": totals.entries,
        "files": totals.files,
        "rows": totals.rows,
        "bytes": totals.bytes,
        "new_bytes": totals.new_bytes,
        "stored_bytes": totals.stored_bytes,
        "rung": int(point.rung),
        "rung_ns": to_ns(point.rung_at or point.committed_at),
        "held": point.held,
    }


def _point(row: RowMapping, copies: tuple[str, ...]) -> Point:
    counts = ("entries", "files", "rows", "bytes", "new_bytes", "stored_bytes")
    plain = ("id", "name", "system", "source", "domain", "kind", "held")
    return Point(
        pinned_at=from_ns(row["pinned_ns"]),
        committed_at=from_ns(row["committed_ns"]),
        totals=Totals(**{name: row[name] for name in counts}),
        rung=Rung(row["rung"]),
        rung_at=from_ns(row["rung_ns"]),
        group=row["grouped"],
        copies=copies,
        **{name: row[name] for name in plain},
    )
