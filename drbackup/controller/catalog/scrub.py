"""The times when the packs' copies, and the points' copies with all their packs, were last read back whole.

When these rows are lost, the next scrubs read more; no data is lost. What the catalog does not know counts as never
read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, Update, and_, bindparam, case, func, or_, select, update

from drbackup.controller.catalog.connection import Database
from drbackup.controller.catalog.tables import domains, pack_copies, packs, point_copies, points
from drbackup.model.point import Rung, digest_of, pack_id
from drbackup.model.scrub import Copy, Wounded
from drbackup.system.instants import from_ns, from_ns_or_none, to_ns

_BATCH = 500


class Coverage(msgspec.Struct, frozen=True):
    """The part of one store that was read back within a given time."""

    packs: int  # of the store
    bytes: int  # of all its packs
    packs_read: int  # within the time
    bytes_read: int  # within the time
    oldest: datetime | None  # when the pack that waits longest was last read, or stored if never; None: an empty store
    oldest_name: str  # that pack's SHA-256, hex
    oldest_read: bool  # whether it was ever read


class Scrubs:
    """All times of reading back. Condemned packs are neither listed nor counted: they may be erased at any moment."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def copies(self, store: str) -> list[Copy]:
        """Every pack's copy in a store, in no given order."""
        columns = packs.c.id, domains.c.name, packs.c.kind, packs.c.name, packs.c.size
        query = select(*columns, pack_copies.c.stored_ns, pack_copies.c.scrubbed_ns).select_from(_JOINED)
        with self._database.read() as connection:
            found = connection.execute(query.where(*_living(store)))
            return [
                Copy(number, domain, pack_id(kind, name), size, from_ns(stored), from_ns_or_none(read))
                for number, domain, kind, name, size, stored, read in found
            ]

    def reads(self, store: str) -> dict[str, dict[bytes, int]]:
        """Domain → pack (kind letter + SHA-256) → UTC ns when it was last read back whole there; 0: never.

        Packs that the store is not known to hold whole are left out; condemned packs are not.
        """
        found: dict[str, dict[bytes, int]] = {}
        query = select(domains.c.name, packs.c.kind, packs.c.name, pack_copies.c.scrubbed_ns).select_from(_JOINED)
        with self._database.read() as connection:
            for domain, kind, name, read_ns in connection.execute(query.where(pack_copies.c.store == store)):
                found.setdefault(domain, {})[pack_id(kind, name)] = read_ns
        return found

    def living(self, store: str, number: int) -> bool:
        """Whether the catalog still relies on this copy. A collect may have erased it since it was listed."""
        with self._database.read() as connection:
            return connection.execute(_JOINED.select().where(*_living(store), packs.c.id == number)).first() is not None

    def note(self, store: str, numbers: Sequence[int], *, now: datetime) -> None:
        """A durable note that these packs (by their rows' numbers) were read back whole at ``now``."""
        with self._database.write() as connection:
            for begin in range(0, len(numbers), _BATCH):
                which = pack_copies.c.store == store, pack_copies.c.pack.in_(numbers[begin : begin + _BATCH])
                connection.execute(update(pack_copies).where(*which).values(scrubbed_ns=to_ns(now)))

    def judge(self, store: str, since: Mapping[str, int], *, now: datetime) -> int:
        """The number of points whose copy in a store is whole; the copies' health and the points' rungs are durable.

        ``since``: point → UTC ns since when all of its copy was read back; 0: not all of it; −1: it is damaged. Points
        without a copy there are left out. One transaction writes it all. A point falls to ``written`` when a copy is
        newly found damaged. It climbs to ``checksummed`` when a copy was read back and none is known to be damaged.
        """
        with self._database.write() as connection:
            here = select(point_copies.c.point, point_copies.c.read_ns).where(point_copies.c.store == store)
            before = {point: read for point, read in connection.execute(here) if point in since}
            changed = [{"p": each, "ns": since[each]} for each, read in before.items() if read != since[each]]
            this = point_copies.c.point == bindparam("p"), point_copies.c.store == store
            _all(connection, update(point_copies).where(*this).values(read_ns=bindparam("ns")), changed)
            point = points.c.id == bindparam("p")
            fallen = update(points).where(point, points.c.rung > int(Rung.WRITTEN))
            fallen = fallen.values(rung=int(Rung.WRITTEN), rung_ns=to_ns(now))
            _all(connection, fallen, [{"p": each} for each, read in before.items() if since[each] < 0 <= read])
            damaged = set(connection.execute(select(point_copies.c.point).where(point_copies.c.read_ns < 0)).scalars())
            proven = [each for each in before if since[each] > 0]
            lower = or_(points.c.rung < _READ, and_(points.c.rung == _READ, points.c.rung_ns < bindparam("ns")))
            climbs = update(points).where(point, lower).values(rung=_READ, rung_ns=bindparam("ns"))
            _all(connection, climbs, [{"p": each, "ns": since[each]} for each in proven if each not in damaged])
        return len(proven)

    def of_point(self, point: str) -> dict[str, datetime | None]:
        """Store → since when that copy of a point has been read back whole.

        None: not all of it was read, or it is damaged (:meth:`damaged_points`).
        """
        query = select(point_copies.c.store, point_copies.c.read_ns).where(point_copies.c.point == point)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(point_copies.c.store))
            return {store: from_ns(read) if read > 0 else None for store, read in rows}

    def damage(self) -> dict[tuple[str, str], tuple[Wounded, ...]]:
        """(system, source) → its points with a damaged copy, newest first."""
        damaged = select(point_copies.c.point).where(point_copies.c.read_ns < 0)
        columns = points.c.system, points.c.source, points.c.id, points.c.pinned_ns
        query = select(*columns, point_copies.c.store, point_copies.c.read_ns).join(point_copies)
        query = query.where(points.c.id.in_(damaged), points.c.collected_ns == 0)
        query = query.order_by(points.c.committed_ns.desc(), points.c.id, point_copies.c.store)
        found: dict[tuple[str, str], dict[str, Wounded]] = {}
        with self._database.read() as connection:
            for system, source, point, pinned_ns, store, read_ns in connection.execute(query):
                here = found.setdefault((system, source), {})
                seen = here.get(point, Wounded(point, from_ns(pinned_ns), (), ()))
                if read_ns < 0:
                    here[point] = replace(seen, damaged=(*seen.damaged, store))
                else:
                    here[point] = replace(seen, others=(*seen.others, store))
        return {place: tuple(wounded.values()) for place, wounded in found.items()}

    def lost(self) -> frozenset[str]:
        """The ids of the points that are known to be damaged in every copy. They protect nothing."""
        return frozenset(each.point for hurt in self.damage().values() for each in hurt if each.lost)

    def damaged_points(self) -> dict[str, frozenset[str]]:
        """The stores in which a point's copy is known to be damaged, by the point's id."""
        found: dict[str, set[str]] = {}
        query = select(point_copies.c.point, point_copies.c.store).where(point_copies.c.read_ns < 0)
        with self._database.read() as connection:
            for point, store in connection.execute(query):
                found.setdefault(point, set()).add(store)
        return {point: frozenset(stores) for point, stores in found.items()}

    def expected(self, store: str, system: str = "") -> dict[str, str]:
        """Record name → point id of every record that must be in a store, of one system or of all.

        Points that are being removed are left out.
        """
        query = select(points.c.name, points.c.id).join(point_copies, point_copies.c.point == points.c.id)
        query = query.where(point_copies.c.store == store, points.c.collected_ns == 0)
        if system:
            query = query.where(points.c.system == system)
        with self._database.read() as connection:
            return {name: identity for name, identity in connection.execute(query)}  # noqa: C416 - rows, not tuples

    def coverage(self, store: str, *, now: datetime, within: timedelta) -> Coverage:
        """The part of a store that was read back within that time before ``now``."""
        since = pack_copies.c.scrubbed_ns >= to_ns(now - within)
        sums = (
            func.count(),
            func.coalesce(func.sum(packs.c.size), 0),
            func.coalesce(func.sum(case((since, 1), else_=0)), 0),
            func.coalesce(func.sum(case((since, packs.c.size), else_=0)), 0),
        )
        last = case((pack_copies.c.scrubbed_ns > 0, pack_copies.c.scrubbed_ns), else_=pack_copies.c.stored_ns)
        first = select(last, packs.c.name, pack_copies.c.scrubbed_ns).select_from(_JOINED).where(*_living(store))
        with self._database.read() as connection:
            counted = connection.execute(select(*sums).select_from(_JOINED).where(*_living(store))).one()
            oldest = connection.execute(first.order_by(last).limit(1)).first()
        if oldest is None:
            return Coverage(0, 0, 0, 0, None, "", oldest_read=False)
        number, size, number_read, size_read = (int(each) for each in counted)
        when = from_ns(oldest[0])
        return Coverage(number, size, number_read, size_read, when, oldest[1].hex(), oldest_read=bool(oldest[2]))

    def numbers(self, domain: str, wanted: Iterable[bytes]) -> dict[bytes, int]:
        """The rows' numbers of those packs (kind letter + SHA-256 each) that the catalog knows."""
        names = [digest_of(pack) for pack in wanted]
        found: dict[bytes, int] = {}
        with self._database.read() as connection:
            query = select(packs.c.kind, packs.c.name, packs.c.id).join(domains).where(domains.c.name == domain)
            for begin in range(0, len(names), _BATCH):
                for kind, name, number in connection.execute(query.where(packs.c.name.in_(names[begin:][:_BATCH]))):
                    found[pack_id(kind, name)] = number
        return found


def _all(connection: Connection, statement: Update, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(statement, rows)


_READ = int(Rung.CHECKSUMMED)
_JOINED = packs.join(pack_copies, pack_copies.c.pack == packs.c.id).join(domains, domains.c.id == packs.c.domain)


def _living(store: str) -> tuple[ColumnElement[bool], ...]:
    return pack_copies.c.store == store, pack_copies.c.condemned_ns == 0
