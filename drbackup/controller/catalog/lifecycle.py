"""The later life of packs and points: locked, retired, condemned, erased. A collect writes it; all others read it.

A pack's copy is condemned once, and pardoned only because of a record that names it. Whoever makes a new point treats
a condemned pack as one that is not there. A point is marked before its removal begins, and then no list shows it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Connection, Insert, RowMapping, delete, func, insert, select, update

from drbackup.controller.catalog.connection import Database
from drbackup.controller.catalog.paging import paged
from drbackup.controller.catalog.tables import chunks, domains, pack_copies, packs, point_copies, points
from drbackup.model.collect import PackCopy
from drbackup.model.point import Point, digest_of, pack_id
from drbackup.system.instants import to_ns

_BATCH = 500  # copies in one transaction, or names in one query
_COPIES_OF_PACKS = packs.join(pack_copies, pack_copies.c.pack == packs.c.id)
_BY_NAME = (packs.c.kind, False), (packs.c.name, False)

_Row = tuple[ColumnElement[bool], ...]  # the conditions that only one row meets


class Leaving(msgspec.Struct, frozen=True):
    """A point whose removal began."""

    id: str
    name: str  # its record's
    system: str
    source: str
    stores: tuple[str, ...]  # those that may still have the record


class Lifecycle:
    """The later life of all packs and points. What a method wrote is durable when it returns."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- packs ----------------------------------------------------------------------------------------------------

    def copies(self, store: str) -> Iterator[PackCopy]:
        """Every pack that ``store`` holds as far as the catalog knows, by domain, kind and name."""
        with self._database.read() as connection:
            known = connection.execute(select(domains.c.id, domains.c.name).order_by(domains.c.name)).all()
        of_pack = packs.c.kind, packs.c.name, packs.c.size, packs.c.session
        times = pack_copies.c.stored_ns, pack_copies.c.locked_ns, pack_copies.c.retired_ns, pack_copies.c.condemned_ns
        query = select(*of_pack, *times).select_from(_COPIES_OF_PACKS).where(pack_copies.c.store == store)
        for number, domain in known:
            of_domain = query.where(packs.c.domain == number)
            for row in paged(self._database, of_domain, _BY_NAME, _as_they_are):
                yield _pack_copy(store, domain, row)

    def condemned(self, domain: str, store: str, wanted: Sequence[bytes]) -> tuple[bytes, ...]:
        """Those packs (kind letter + SHA-256 each) that are condemned in ``store``. No new point may rely on them."""
        query = (
            select(packs.c.kind, packs.c.name)
            .select_from(_COPIES_OF_PACKS.join(domains))
            .where(domains.c.name == domain, pack_copies.c.store == store, pack_copies.c.condemned_ns != 0)
        )
        asked = set(wanted)  # a name alone may also be that of a pack of another kind
        found: list[bytes] = []
        with self._database.read() as connection:
            for begin in range(0, len(wanted), _BATCH):
                names = [digest_of(each) for each in wanted[begin : begin + _BATCH]]
                rows = connection.execute(query.where(packs.c.name.in_(names)))
                found += [pack for kind, name in rows if (pack := pack_id(kind, name)) in asked]
        return tuple(found)

    def unreliable(self, domain: str, store: str, *, locked_ns: int = 0) -> tuple[bytes, ...]:
        """The names (32 bytes each) of a domain's packs that nothing new may rely on.

        They are retired or condemned, or their lock ends before ``locked_ns`` (UTC ns).
        :meth:`~drbackup.controller.catalog.packs.Packs.locate` never offers them.
        """
        times = pack_copies.c
        unfit = (times.retired_ns != 0) | (times.condemned_ns != 0) | (times.locked_ns < locked_ns)
        query = (
            select(packs.c.name)
            .select_from(_COPIES_OF_PACKS.join(domains))
            .where(domains.c.name == domain, pack_copies.c.store == store, unfit)
        )
        with self._database.read() as connection:
            return tuple(connection.execute(query.order_by(packs.c.name)).scalars())

    def condemn(self, copies: Iterable[PackCopy], *, now: datetime) -> None:
        """Condemned copies: nothing new relies on them any more.

        One that is condemned already keeps its first instant, from which the grace is counted. One that the catalog did
        not know, because only the store's listing had it, is known from now on.
        """
        for some in _batches(copies):
            with self._database.write() as connection:
                for copy in some:
                    row = _row_made_if_missing(connection, copy)
                    first_time = pack_copies.c.condemned_ns == 0
                    connection.execute(update(pack_copies).where(*row, first_time).values(condemned_ns=to_ns(now)))

    def pardon(self, copies: Iterable[PackCopy]) -> None:
        """Copies that are like any other again, because a record names them."""
        self._write(copies, {"condemned_ns": 0})

    def retire(self, copies: Iterable[PackCopy], *, now: datetime) -> None:
        """Retired copies: nothing new relies on them; what old points have in them stays."""
        self._write(copies, {"retired_ns": to_ns(now)})

    def lock(self, copies: Iterable[PackCopy], until_ns: int) -> None:
        """Copies that the store locks until ``until_ns`` (UTC ns) at least."""
        self._write(copies, {"locked_ns": until_ns})

    def still_condemned(self, copies: Sequence[PackCopy]) -> tuple[PackCopy, ...]:
        """Those copies that are condemned since the same instant as when they were judged."""
        found = []
        with self._database.read() as connection:
            for copy in copies:
                since = select(pack_copies.c.condemned_ns).where(*_row(connection, copy))
                condemned_ns = connection.execute(since).scalar()
                if condemned_ns and condemned_ns == copy.condemned_ns:
                    found.append(copy)
        return tuple(found)

    def erased(self, copies: Iterable[PackCopy]) -> None:
        """Copies that the store does not have any more. A pack without a copy is forgotten, with its chunks."""
        by_domain: dict[str, list[PackCopy]] = defaultdict(list)
        for copy in copies:
            by_domain[copy.domain].append(copy)
        for of_domain in by_domain.values():
            with self._database.write() as connection:
                numbers = [number for copy in of_domain if (number := _pack(connection, copy)) is not None]
                for copy in of_domain:
                    connection.execute(delete(pack_copies).where(*_row(connection, copy)))
                _forget_without_copy(connection, numbers)

    def _write(self, copies: Iterable[PackCopy], values: Mapping[str, int]) -> None:
        for some in _batches(copies):
            with self._database.write() as connection:
                for copy in some:
                    connection.execute(update(pack_copies).where(*_row(connection, copy)).values(**values))

    # --- points ---------------------------------------------------------------------------------------------------

    def locks(self) -> dict[tuple[str, str], int]:
        """(point id, store) → UTC ns until when the record is locked there at least; 0: no lock, or not known."""
        with self._database.read() as connection:
            rows = connection.execute(select(point_copies.c.point, point_copies.c.store, point_copies.c.locked_ns))
            return {(point, store): until_ns for point, store, until_ns in rows}

    def lock_record(self, point: str, store: str, until_ns: int) -> None:
        """A point's record that the store locks until ``until_ns`` (UTC ns) at least."""
        with self._database.write() as connection:
            here = point_copies.c.point == point, point_copies.c.store == store
            connection.execute(update(point_copies).where(*here).values(locked_ns=until_ns))

    def mark(self, chosen: Iterable[Point], judged: Iterable[Point], *, now: datetime) -> tuple[Point, ...]:
        """Those of ``chosen`` whose removal begins now. No list shows them any more, and none can be held.

        ``judged``: all points that were looked at for the choice. A system whose points, rungs or holds have changed
        since then keeps all of its points, because the choice is out of date.
        """
        chosen_of, judged_of = _by_system(chosen), _by_system(judged)
        marked: list[Point] = []
        with self._database.write() as connection:
            for system, leaving in chosen_of.items():
                as_judged = {(point.id, int(point.rung), point.held) for point in judged_of.get(system, ())}
                if _points_now(connection, system) != as_judged:
                    continue
                for point in leaving:
                    row = update(points).where(points.c.id == point.id)
                    connection.execute(row.values(collected_ns=to_ns(now)))
                marked += leaving
        return tuple(marked)

    def marked(self) -> list[Leaving]:
        """The points whose removal began and is not over, oldest first."""
        of_point = points.c.id, points.c.name, points.c.system, points.c.source
        leaving = select(*of_point).where(points.c.collected_ns != 0).order_by(points.c.committed_ns, points.c.id)
        holding = select(point_copies.c.store).order_by(point_copies.c.store)
        found = []
        with self._database.read() as connection:
            for identity, name, system, source in connection.execute(leaving).all():
                stores = connection.execute(holding.where(point_copies.c.point == identity)).scalars()
                found.append(Leaving(identity, name, system, source, tuple(stores)))
        return found

    def unmark(self, point: str) -> None:
        """A point like any other again: its record is locked, and nothing of the point was removed."""
        with self._database.write() as connection:
            connection.execute(update(points).where(points.c.id == point).values(collected_ns=0))

    def removed(self, point: str, store: str) -> None:
        """A copy whose record the store does not have any more. With its last copy a marked point is forgotten."""
        with self._database.write() as connection:
            here = point_copies.c.point == point, point_copies.c.store == store
            connection.execute(delete(point_copies).where(*here))
            left = select(func.count()).select_from(point_copies).where(point_copies.c.point == point)
            if not connection.execute(left).scalar():
                connection.execute(delete(points).where(points.c.id == point, points.c.collected_ns != 0))


# --- rows of packs ----------------------------------------------------------------------------------------------------


def _as_they_are(_connection: Connection, rows: Sequence[RowMapping]) -> Sequence[RowMapping]:
    return rows


def _pack_copy(store: str, domain: str, row: RowMapping) -> PackCopy:
    return PackCopy(
        store,
        domain,
        pack_id(row["kind"], row["name"]),
        row["size"],
        row["stored_ns"],
        row["session"],
        row["locked_ns"],
        row["retired_ns"],
        row["condemned_ns"],
    )


def _batches(copies: Iterable[PackCopy]) -> Iterator[list[PackCopy]]:
    """The copies, a few in each list: a write transaction is short, so others don't wait long for theirs."""
    every = list(copies)
    return (every[begin : begin + _BATCH] for begin in range(0, len(every), _BATCH))


def _pack(connection: Connection, copy: PackCopy) -> int | None:
    """The number of the pack's row, None when the catalog does not know the pack."""
    domain = select(domains.c.id).where(domains.c.name == copy.domain).scalar_subquery()
    same = packs.c.domain == domain, packs.c.kind == copy.kind, packs.c.name == digest_of(copy.pack)
    return connection.execute(select(packs.c.id).where(*same)).scalar()


def _row(connection: Connection, copy: PackCopy) -> _Row:
    """The copy's row; no row when the catalog does not know the pack, because no pack has the number 0."""
    return _row_of(_pack(connection, copy) or 0, copy.store)


def _row_of(pack: int, store: str) -> _Row:
    return pack_copies.c.pack == pack, pack_copies.c.store == store


def _row_made_if_missing(connection: Connection, copy: PackCopy) -> _Row:
    """The copy's row. It is inserted, with its pack and its domain, when only the store's listing had it."""
    pack = _pack(connection, copy)
    if pack is None:
        pack = _insert_pack(connection, copy)
    row = _row_of(pack, copy.store)
    if connection.execute(select(pack_copies.c.pack).where(*row)).first() is None:
        connection.execute(insert(pack_copies).values(pack=pack, store=copy.store, stored_ns=copy.stored_ns))
    return row


def _insert_pack(connection: Connection, copy: PackCopy) -> int:
    domain = connection.execute(select(domains.c.id).where(domains.c.name == copy.domain)).scalar()
    if domain is None:
        domain = _inserted(connection, insert(domains).values(name=copy.domain))
    of_pack = {"kind": copy.kind, "name": digest_of(copy.pack), "size": copy.size, "session": copy.session}
    return _inserted(connection, insert(packs).values(domain=domain, **of_pack))


def _inserted(connection: Connection, row: Insert) -> int:
    key = connection.execute(row).inserted_primary_key
    assert key is not None  # one row was inserted, so it has a key
    return int(key[0])


def _forget_without_copy(connection: Connection, numbers: Sequence[int]) -> None:
    """Those of one domain's packs (by their rows' numbers) that have no copy any more, deleted with their chunks.

    The domain's chunks are read once for every :data:`_BATCH` packs, and not once for each pack.
    """
    for begin in range(0, len(numbers), _BATCH):
        some = packs.c.id.in_(numbers[begin : begin + _BATCH])
        without_copy = packs.c.id.not_in(select(pack_copies.c.pack))
        gone = connection.execute(select(packs.c.id, packs.c.domain).where(some, without_copy)).all()
        if gone:
            ids, domain = [row.id for row in gone], gone[0].domain
            connection.execute(delete(chunks).where(chunks.c.domain == domain, chunks.c.pack.in_(ids)))
            connection.execute(delete(packs).where(packs.c.id.in_(ids)))


# --- rows of points ---------------------------------------------------------------------------------------------------


def _by_system(some: Iterable[Point]) -> dict[str, list[Point]]:
    found: dict[str, list[Point]] = defaultdict(list)
    for point in some:
        found[point.system].append(point)
    return found


def _points_now(connection: Connection, system: str) -> set[tuple[str, int, str]]:
    """(id, rung, reason of a hold) of all points of a system that are not being removed."""
    query = select(points.c.id, points.c.rung, points.c.held)
    rows = connection.execute(query.where(points.c.system == system, points.c.collected_ns == 0))
    return {(row.id, row.rung, row.held) for row in rows}
