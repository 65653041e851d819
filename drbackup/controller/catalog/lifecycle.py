"""How packs and points grow old: locked, retired, condemned, erased. Written by collecting, read by everybody else.

A pack's copy is condemned once and pardoned only by a record that names it; whoever makes a new point treats a
condemned pack as one that is not there. A point that is being removed is marked first, and from then on no list shows
it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, delete, func, insert, select, update

from drbackup.controller.catalog.connection import Database
from drbackup.controller.catalog.paging import paged
from drbackup.controller.catalog.tables import chunks, domains, pack_copies, packs, point_copies, points
from drbackup.model.collect import PackCopy
from drbackup.model.point import Point, digest_of, pack_id
from drbackup.system.instants import to_ns

_BATCH = 500


class Leaving(msgspec.Struct, frozen=True):
    """A point whose removal began. ``name``: its record's; ``stores``: those that may still have the record."""

    id: str
    name: str
    system: str
    source: str
    stores: tuple[str, ...]


class Lifecycle:
    """The later life of all packs and points."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- packs ----------------------------------------------------------------------------------------------------

    def copies(self, store: str) -> Iterator[PackCopy]:
        """Every pack that ``store`` holds as far as the catalog knows, by domain and name."""
        with self._database.read() as connection:
            known = connection.execute(select(domains.c.id, domains.c.name).order_by(domains.c.name)).all()
        held = packs.join(pack_copies, pack_copies.c.pack == packs.c.id)
        wanted = (
            packs.c.kind,
            packs.c.name,
            packs.c.size,
            pack_copies.c.stored_ns,
            packs.c.session,
            pack_copies.c.locked_ns,
            pack_copies.c.retired_ns,
            pack_copies.c.condemned_ns,
        )
        query = select(*wanted).select_from(held).where(pack_copies.c.store == store)
        by_name = (packs.c.kind, False), (packs.c.name, False)
        for number, domain in known:
            here = query.where(packs.c.domain == number)
            for kind, name, *rest in paged(self._database, here, by_name, _values):
                yield PackCopy(store, domain, pack_id(kind, name), *rest)

    def condemned(self, domain: str, store: str, wanted: Sequence[bytes]) -> tuple[bytes, ...]:
        """Those packs (kind letter + name each) that are condemned in ``store``: no new point may rely on them."""
        return self._those(domain, store, wanted, pack_copies.c.condemned_ns != 0)

    def unreliable(self, domain: str, store: str, *, locked_ns: int = 0) -> tuple[bytes, ...]:
        """The names (32 bytes each) of a domain's packs that nothing new relies on: retired, condemned, or locked for
        less than until ``locked_ns``. What :meth:`~drbackup.controller.catalog.packs.Packs.locate` never offers."""
        times = pack_copies.c
        old = (times.retired_ns != 0) | (times.condemned_ns != 0) | (times.locked_ns < locked_ns)
        joined = pack_copies.join(packs, packs.c.id == pack_copies.c.pack).join(domains)
        query = select(packs.c.name).select_from(joined).where(pack_copies.c.store == store, domains.c.name == domain)
        with self._database.read() as connection:
            return tuple(connection.execute(query.where(old).order_by(packs.c.name)).scalars())

    def condemn(self, copies: Iterable[PackCopy], *, now: datetime) -> None:
        """From now on nothing new relies on these. One that only the store's listing had becomes known like this."""
        for some in _batches(copies):
            with self._database.write() as connection:
                for copy in some:
                    number = _pack(connection, copy)
                    if number is None:
                        number = _add_unknown(connection, copy)
                    here = pack_copies.c.pack == number, pack_copies.c.store == copy.store
                    if connection.execute(select(pack_copies.c.pack).where(*here)).first() is None:
                        row = insert(pack_copies).values(pack=number, store=copy.store, stored_ns=copy.stored_ns)
                        connection.execute(row)
                    unjudged = pack_copies.c.condemned_ns == 0
                    connection.execute(update(pack_copies).where(*here, unjudged).values(condemned_ns=to_ns(now)))

    def pardon(self, copies: Iterable[PackCopy]) -> None:
        """A record names these: they are like any other pack again."""
        self._set(copies, {"condemned_ns": 0})

    def retire(self, copies: Iterable[PackCopy], *, now: datetime) -> None:
        """Nothing new relies on these; what old points have in them stays."""
        self._set(copies, {"retired_ns": to_ns(now)})

    def lock(self, copies: Iterable[PackCopy], until_ns: int) -> None:
        """The store's lock on these holds at least until then."""
        self._set(copies, {"locked_ns": until_ns})

    def still_condemned(self, copies: Sequence[PackCopy]) -> tuple[PackCopy, ...]:
        """Those that are condemned since the same instant as when they were judged."""
        with self._database.read() as connection:
            found = []
            for copy in copies:
                row = connection.execute(select(pack_copies.c.condemned_ns).where(*_here(connection, copy))).scalar()
                if row and row == copy.condemned_ns:
                    found.append(copy)
        return tuple(found)

    def erased(self, copies: Iterable[PackCopy]) -> None:
        """The store does not have these any more. What no store has is forgotten with its chunks."""
        by_domain: dict[str, list[PackCopy]] = {}
        for copy in copies:
            by_domain.setdefault(copy.domain, []).append(copy)
        for some in by_domain.values():
            with self._database.write() as connection:
                numbers = [number for copy in some if (number := _pack(connection, copy)) is not None]
                for copy in some:
                    connection.execute(delete(pack_copies).where(*_here(connection, copy)))
                _forget(connection, numbers)

    def _set(self, copies: Iterable[PackCopy], values: Mapping[str, int]) -> None:
        for some in _batches(copies):
            with self._database.write() as connection:
                for copy in some:
                    connection.execute(update(pack_copies).where(*_here(connection, copy)).values(**values))

    def _those(self, domain: str, store: str, wanted: Sequence[bytes], which: ColumnElement[bool]) -> tuple[bytes, ...]:
        joined = pack_copies.join(packs, packs.c.id == pack_copies.c.pack).join(domains)
        query = (
            select(packs.c.kind, packs.c.name)
            .select_from(joined)
            .where(domains.c.name == domain, pack_copies.c.store == store, which)
        )
        asked = set(wanted)
        found: list[bytes] = []
        with self._database.read() as connection:
            for begin in range(0, len(wanted), _BATCH):
                some = packs.c.name.in_([digest_of(each) for each in wanted[begin : begin + _BATCH]])
                rows = connection.execute(query.where(some))
                found += [pack for kind, name in rows if (pack := pack_id(kind, name)) in asked]
        return tuple(found)

    # --- points ---------------------------------------------------------------------------------------------------

    def locks(self) -> dict[tuple[str, str], int]:
        """(point id, store) → UTC ns until when the record is locked there at least; 0: none, or not known."""
        with self._database.read() as connection:
            rows = connection.execute(select(point_copies.c.point, point_copies.c.store, point_copies.c.locked_ns))
            return {(point, store): until for point, store, until in rows}

    def lock_record(self, point: str, store: str, until_ns: int) -> None:
        """The store's lock on the point's record holds at least until then."""
        with self._database.write() as connection:
            here = point_copies.c.point == point, point_copies.c.store == store
            connection.execute(update(point_copies).where(*here).values(locked_ns=until_ns))

    def mark(self, chosen: Iterable[Point], judged: Iterable[Point], *, now: datetime) -> tuple[Point, ...]:
        """Those of ``chosen`` whose removal begins now. From here on no list shows them and none can be held.

        ``judged``: all points that were looked at when they were chosen. Where a system's points are not exactly those
        any more, with the same rungs and holds, none of that system is marked: the choice would be out of date.
        """
        wanted: dict[str, list[Point]] = defaultdict(list)
        known: dict[str, set[tuple[str, int, str]]] = defaultdict(set)
        for point in chosen:
            wanted[point.system].append(point)
        for point in judged:
            known[point.system].add((point.id, int(point.rung), point.held))
        marked: list[Point] = []
        seen = select(points.c.id, points.c.rung, points.c.held).where(points.c.collected_ns == 0)
        with self._database.write() as connection:
            for system, some in wanted.items():
                rows = connection.execute(seen.where(points.c.system == system))
                if {(row.id, row.rung, row.held) for row in rows} == known[system]:
                    for point in some:
                        this = points.c.id == point.id
                        connection.execute(update(points).where(this).values(collected_ns=to_ns(now)))
                    marked += some
        return tuple(marked)

    def marked(self) -> list[Leaving]:
        """Points whose removal began and is not over, oldest first."""
        wanted = (points.c.id, points.c.name, points.c.system, points.c.source)
        with self._database.read() as connection:
            query = select(*wanted).where(points.c.collected_ns != 0).order_by(points.c.committed_ns, points.c.id)
            where = select(point_copies.c.store).order_by(point_copies.c.store)
            return [
                Leaving(*row, tuple(connection.execute(where.where(point_copies.c.point == row[0])).scalars()))
                for row in connection.execute(query).all()
            ]

    def unmark(self, point: str) -> None:
        """Its record turned out to be locked before anything was removed: it is a point like any other again."""
        with self._database.write() as connection:
            connection.execute(update(points).where(points.c.id == point).values(collected_ns=0))

    def removed(self, point: str, store: str) -> None:
        """The store has no record of the marked point any more. With its last copy the point is forgotten."""
        with self._database.write() as connection:
            here = point_copies.c.point == point, point_copies.c.store == store
            connection.execute(delete(point_copies).where(*here))
            left = select(func.count()).select_from(point_copies).where(point_copies.c.point == point)
            if not connection.execute(left).scalar():
                connection.execute(delete(points).where(points.c.id == point, points.c.collected_ns != 0))


def _values(_connection: Connection, rows: Iterable[RowMapping]) -> Iterable[tuple[Any, ...]]:
    return (tuple(row.values()) for row in rows)


def _batches(copies: Iterable[PackCopy]) -> Iterator[list[PackCopy]]:
    every = list(copies)
    return (every[begin : begin + _BATCH] for begin in range(0, len(every), _BATCH))


def _pack(connection: Connection, copy: PackCopy) -> int | None:
    number = select(domains.c.id).where(domains.c.name == copy.domain).scalar_subquery()
    same = packs.c.domain == number, packs.c.kind == copy.kind, packs.c.name == digest_of(copy.pack)
    return connection.execute(select(packs.c.id).where(*same)).scalar()


def _here(connection: Connection, copy: PackCopy) -> tuple[ColumnElement[bool], ...]:
    return pack_copies.c.pack == (_pack(connection, copy) or 0), pack_copies.c.store == copy.store


def _add_unknown(connection: Connection, copy: PackCopy) -> int:
    domain = connection.execute(select(domains.c.id).where(domains.c.name == copy.domain)).scalar()
    if domain is None:
        connection.execute(insert(domains).values(name=copy.domain))
        domain = connection.execute(select(domains.c.id).where(domains.c.name == copy.domain)).scalar_one()
    row = insert(packs).values(
        domain=domain, kind=copy.kind, name=digest_of(copy.pack), size=copy.size, session=copy.session
    )
    key = connection.execute(row).inserted_primary_key
    assert key is not None
    return int(key[0])


def _forget(connection: Connection, numbers: Sequence[int]) -> None:
    """Packs that no store has any more, and their chunks. One pass over a domain's chunks, however many packs go."""
    for begin in range(0, len(numbers), _BATCH):
        held = select(pack_copies.c.pack)
        some = packs.c.id.in_(numbers[begin : begin + _BATCH]), packs.c.id.not_in(held)
        gone = connection.execute(select(packs.c.id, packs.c.domain).where(*some)).all()
        if gone:
            ids = [number for number, _ in gone]
            connection.execute(delete(chunks).where(chunks.c.domain == gone[0][1], chunks.c.pack.in_(ids)))
            connection.execute(delete(packs).where(packs.c.id.in_(ids)))
