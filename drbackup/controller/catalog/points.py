"""Recovery points as the catalog knows them: what was committed, where it lies, how far it was proven.

A point whose removal began (:meth:`drbackup.controller.catalog.lifecycle.Lifecycle.mark`) is in no list any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, func, insert, select, update

from drbackup.controller.catalog.connection import Database
from drbackup.controller.catalog.tables import point_copies, points
from drbackup.errors import PointMissing
from drbackup.model.point import Point, Rung, Totals
from drbackup.system.instants import from_ns, to_ns


class Points:
    """All committed points. A point is never removed here by a failure or by a newer point."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, point: Point, *, session: str, previous: str = "") -> None:
        """Remember a committed point and its copies. Again with the same id: only new copies are added."""
        with self._database.write() as connection:
            known = connection.execute(select(points.c.id).where(points.c.id == point.id)).first()
            if known is None:
                connection.execute(insert(points).values(**_columns(point, session, previous)))
            for store in point.copies:
                _add_copy(connection, point.id, store, point.committed_at)

    def add_copy(self, point: str, store: str, *, now: datetime) -> None:
        """Another store holds the whole point, too. Nothing for a point that is not known (any more)."""
        with self._database.write() as connection:
            if connection.execute(select(points.c.id).where(points.c.id == point)).first() is not None:
                _add_copy(connection, point, store, now)

    def climb(self, point: str, rung: Rung, *, now: datetime) -> None:
        """The point was proven up to ``rung``. A rung below the one it has changes nothing."""
        with self._database.write() as connection:
            connection.execute(
                update(points)
                .where(points.c.id == point, points.c.rung <= int(rung))
                .values(rung=int(rung), rung_ns=to_ns(now))
            )

    def fall(self, point: str, *, now: datetime) -> None:
        """A copy of the point was found damaged: what was proven of it before is not claimed any more."""
        with self._database.write() as connection:
            connection.execute(
                update(points).where(points.c.id == point).values(rung=int(Rung.WRITTEN), rung_ns=to_ns(now))
            )

    def hold(self, point: str, reason: str) -> None:
        """Hold a point with a reason, or release it with an empty one. Raises :class:`PointMissing`."""
        with self._database.write() as connection:
            there = points.c.id == point, points.c.collected_ns == 0
            if connection.execute(update(points).where(*there).values(held=reason)).rowcount != 1:
                raise PointMissing(f"no recovery point {point}")

    def newest(self, system: str, source: str) -> Point | None:
        """The newest committed point of a source."""
        found = self.list(system=system, source=source, limit=1)
        return found[0] if found else None

    def newest_whole(self, system: str, source: str) -> Point | None:
        """The newest committed point of a source with a copy that is not known to be damaged: what protects it now."""
        whole = select(point_copies.c.point).where(point_copies.c.read_ns >= 0)
        query = _living().where(points.c.system == system, points.c.source == source, points.c.id.in_(whole))
        found = self._read(query.order_by(points.c.committed_ns.desc(), points.c.id).limit(1))
        return found[0] if found else None

    def list(self, *, system: str = "", source: str = "", store: str = "", limit: int = 10_000) -> Sequence[Point]:
        """Newest first by commit time. ``store``: only points that have a whole copy there."""
        query = _living().order_by(points.c.committed_ns.desc(), points.c.id).limit(limit)
        if system:
            query = query.where(points.c.system == system)
        if source:
            query = query.where(points.c.source == source)
        if store:
            there = select(point_copies.c.point).where(point_copies.c.store == store)
            query = query.where(points.c.id.in_(there))
        return self._read(query)

    def get(self, word: str, *, system: str = "", source: str = "") -> Point:
        """The point an operator means: an id, a unique beginning of one (≥ 4 characters), or ``latest``.

        Raises :class:`PointMissing` when none fits or several do.
        """
        if word == "latest":
            found = self.list(system=system, source=source, limit=1)
        else:
            query = _living().where(func.substr(points.c.id, 1, len(word)) == word.lower()).limit(2)
            if system:
                query = query.where(points.c.system == system)
            if source:
                query = query.where(points.c.source == source)
            found = self._read(query) if len(word) >= 4 else ()
        if word == "latest" and not found:
            raise PointMissing(
                f"{system}/{source} has no recovery point yet".lstrip("/"),
                hint=f"back it up: drbackup backup {system}/{source}" if source else "see: drbackup status",
            )
        scope = f" of {system}/{source}" if source else f" of {system}" if system else ""
        if not found:
            raise PointMissing(f"no recovery point {word}{scope}")
        if len(found) > 1:
            raise PointMissing(f"{word} is the beginning of several recovery points", hint="write more of its id")
        return found[0]

    def previous(self, system: str, source: str) -> str:
        """The newest point's id: the next record's ``previous``. Empty: none yet."""
        newest = self.newest(system, source)
        return newest.id if newest else ""

    def lacking(self, system: str, source: str, store: str, limit: int = 50) -> Sequence[Point]:
        """Points without a copy in ``store``, oldest first: the order in which a store's chain grows without a gap."""
        there = select(point_copies.c.point).where(point_copies.c.store == store)
        query = _living().where(points.c.system == system, points.c.source == source, points.c.id.not_in(there))
        return self._read(query.order_by(points.c.committed_ns).limit(limit))

    def known(self, store: str = "") -> frozenset[str]:
        """Every known point's record name; with ``store``, of those that have a copy there."""
        query = select(points.c.name)
        if store:
            here = (point_copies.c.point == points.c.id) & (point_copies.c.store == store)
            query = select(points.c.name).join(point_copies, here)
        with self._database.read() as connection:
            return frozenset(connection.execute(query).scalars())

    def session(self, point: str) -> str:
        """The session that wrote a point. Raises :class:`PointMissing`."""
        with self._database.read() as connection:
            found = connection.execute(select(points.c.session).where(points.c.id == point)).scalar_one_or_none()
        if found is None:
            raise PointMissing(f"no recovery point {point}")
        return str(found)

    def _read(self, query: Select[Any]) -> Sequence[Point]:
        with self._database.read() as connection:
            rows = list(connection.execute(query).mappings())
            ids = [row["id"] for row in rows]
            copies: dict[str, list[str]] = {identity: [] for identity in ids}
            for begin in range(0, len(ids), 500):
                which = point_copies.c.point.in_(ids[begin : begin + 500])
                for point, store in connection.execute(
                    select(point_copies.c.point, point_copies.c.store).where(which).order_by(point_copies.c.store)
                ):
                    copies[point].append(store)
        return [_point(row, tuple(copies[row["id"]])) for row in rows]


def _living() -> Select[Any]:
    return select(points).where(points.c.collected_ns == 0)


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
