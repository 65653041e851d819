"""Packs and the chunks inside them: what an agent need not send again.

A chunk counts as present in a store only while its pack does. When these tables are lost, chunks are sent again; no
data is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Connection, Insert, and_, delete, func, insert, select

from drbackup.controller.catalog.connection import Database
from drbackup.controller.catalog.tables import chunks, domains, pack_copies, packs
from drbackup.model.point import digest_of, pack_id
from drbackup.system.instants import to_ns
from drbackup.wire.messages import Place

_BATCH = 1000


class Pack(msgspec.Struct, frozen=True):
    """One stored pack."""

    domain: str
    kind: str  # its letter: p, t or i
    name: bytes  # the SHA-256 of its bytes, 32 bytes
    size: int  # bytes
    session: str = ""  # the one that sent it; empty: not known


class Packs:
    """All packs of all domains."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def locate(self, domain: str, store: str, ids: Sequence[bytes], *, locked_ns: int = 0) -> tuple[Place, ...]:
        """The places of these chunks inside packs that ``store`` has; chunks that it lacks are left out.

        Packs that are condemned or retired are never offered. Nor is one whose lock may end before ``locked_ns`` (UTC
        ns; :func:`drbackup.model.collect.lease_ns`). What a new point relies on must stay until its session is over.
        """
        found: dict[bytes, Place] = {}
        with self._database.read() as connection:
            number = _domain(connection, domain)
            if number is None:
                return ()
            here = and_(pack_copies.c.pack == chunks.c.pack, pack_copies.c.store == store)
            wanted = (chunks.c.chunk, packs.c.name, chunks.c.ordinal, chunks.c.offset, chunks.c.size, chunks.c.raw)
            joined = chunks.join(pack_copies, here).join(packs, packs.c.id == chunks.c.pack)
            lasting = (
                pack_copies.c.condemned_ns == 0,
                pack_copies.c.retired_ns == 0,
                pack_copies.c.locked_ns >= locked_ns,
            )
            query = select(*wanted).select_from(joined).where(chunks.c.domain == number, *lasting)
            for begin in range(0, len(ids), _BATCH):
                some = chunks.c.chunk.in_(ids[begin : begin + _BATCH])
                for row in connection.execute(query.where(some)):
                    found.setdefault(row[0], Place(*row))
        return tuple(found.values())

    def has(self, domain: str, kind: str, name: bytes, store: str) -> bool:
        """Whether the store holds this pack, as far as the catalog knows."""
        with self._database.read() as connection:
            joined = packs.join(pack_copies, pack_copies.c.pack == packs.c.id).join(domains)
            query = (
                select(packs.c.id)
                .select_from(joined)
                .where(
                    domains.c.name == domain, packs.c.kind == kind, packs.c.name == name, pack_copies.c.store == store
                )
            )
            return connection.execute(query).first() is not None

    def count(self, domain: str, store: str) -> int:
        """The number of this domain's packs that ``store`` holds, as far as the catalog knows."""
        with self._database.read() as connection:
            joined = packs.join(pack_copies, pack_copies.c.pack == packs.c.id)
            query = select(func.count()).select_from(joined)
            found = query.where(packs.c.domain == _domain(connection, domain), pack_copies.c.store == store)
            return int(connection.execute(found).scalar_one())

    def sizes(self, domain: str, wanted_packs: Sequence[bytes]) -> dict[bytes, int]:
        """The sizes in bytes of these packs (kind letter + SHA-256 each); unknown packs are left out."""
        found: dict[bytes, int] = {}
        with self._database.read() as connection:
            number = _domain(connection, domain)
            query = select(packs.c.kind, packs.c.name, packs.c.size).where(packs.c.domain == number)
            for begin in range(0, len(wanted_packs), _BATCH):
                some = packs.c.name.in_([digest_of(each) for each in wanted_packs[begin : begin + _BATCH]])
                for kind, name, size in connection.execute(query.where(some)):
                    found[pack_id(kind, name)] = size
        return found

    def add_copies(
        self, domain: str, store: str, wanted_packs: Sequence[bytes], *, now: datetime, locked_ns: int = 0
    ) -> None:
        """A durable note that ``store`` holds these packs (kind letter + SHA-256 each), too.

        Packs that the catalog does not know are left out.

        ``locked_ns``: UTC ns until when the store locks each pack that is new here, at least; 0: no lock, or not known.
        """
        with self._database.write() as connection:
            number = _domain(connection, domain)
            for begin in range(0, len(wanted_packs), _BATCH):
                names = [digest_of(each) for each in wanted_packs[begin : begin + _BATCH]]
                ids = select(packs.c.id).where(packs.c.domain == number, packs.c.name.in_(names))
                here = select(pack_copies.c.pack).where(pack_copies.c.store == store)
                new = connection.execute(ids.where(packs.c.id.not_in(here))).scalars().all()
                row = {"store": store, "stored_ns": to_ns(now), "locked_ns": locked_ns}
                rows = [{"pack": pack, **row} for pack in new]
                if rows:
                    connection.execute(insert(pack_copies), rows)

    def add(self, pack: Pack, store: str, places: Iterable[Place], *, now: datetime, locked_ns: int = 0) -> None:
        """A pack that is durable in ``store``, and its chunks, known from now on: in one transaction. Idempotent.

        ``locked_ns``: UTC ns until when the store locks it, at least; 0: no lock, or not known.
        """
        with self._database.write() as connection:
            domain = _domain(connection, pack.domain)
            if domain is None:
                domain = _inserted(connection, insert(domains).values(name=pack.domain))
            known = connection.execute(
                select(packs.c.id).where(packs.c.domain == domain, packs.c.kind == pack.kind, packs.c.name == pack.name)
            ).scalar()
            if known is None:
                row = insert(packs).values(
                    domain=domain, kind=pack.kind, name=pack.name, size=pack.size, session=pack.session
                )
                known = _inserted(connection, row)
                # A pack's name is the hash of its bytes, so its chunks never change: they are written once.
                rows = {place.id: _chunk(domain, known, place) for place in places}
                if rows:
                    connection.execute(insert(chunks), list(rows.values()))
            there = select(pack_copies.c.pack).where(pack_copies.c.pack == known, pack_copies.c.store == store)
            if connection.execute(there).first() is None:
                row = insert(pack_copies).values(pack=known, store=store, stored_ns=to_ns(now), locked_ns=locked_ns)
                connection.execute(row)

    def known(self, domain: str, kind: str) -> dict[bytes, frozenset[str]]:
        """Every pack of one kind in a domain, by its SHA-256, with the stores that hold it."""
        found: dict[bytes, set[str]] = {}
        with self._database.read() as connection:
            joined = packs.join(pack_copies, pack_copies.c.pack == packs.c.id).join(domains)
            query = select(packs.c.name, pack_copies.c.store).select_from(joined)
            for name, store in connection.execute(query.where(domains.c.name == domain, packs.c.kind == kind)):
                found.setdefault(name, set()).add(store)
        return {name: frozenset(stores) for name, stores in found.items()}

    def forgotten(self, domain: str, store: str, wanted_packs: Sequence[bytes]) -> tuple[bytes, ...]:
        """Those packs (kind letter + SHA-256 each) that are known, but not as held by ``store``.

        A scrub may have found such a pack damaged there. Packs that the catalog does not know at all are left out.
        """
        held = select(pack_copies.c.pack).where(pack_copies.c.store == store)
        found: list[bytes] = []
        with self._database.read() as connection:
            query = select(packs.c.kind, packs.c.name).where(
                packs.c.domain == _domain(connection, domain), packs.c.id.not_in(held)
            )
            for begin in range(0, len(wanted_packs), _BATCH):
                some = packs.c.name.in_([digest_of(each) for each in wanted_packs[begin : begin + _BATCH]])
                found += [pack_id(kind, name) for kind, name in connection.execute(query.where(some))]
        return tuple(found)

    def forget(self, domain: str, store: str, names: Iterable[tuple[str, bytes]]) -> None:
        """A durable note that the store does not have these packs (kind letter, SHA-256) whole.

        Agents send their chunks again.
        """
        with self._database.write() as connection:
            number = _domain(connection, domain)
            for kind, name in names:
                which = select(packs.c.id).where(packs.c.domain == number, packs.c.kind == kind, packs.c.name == name)
                gone = pack_copies.c.pack.in_(which.scalar_subquery()), pack_copies.c.store == store
                connection.execute(delete(pack_copies).where(*gone))


def _domain(connection: Connection, name: str) -> int | None:
    return connection.execute(select(domains.c.id).where(domains.c.name == name)).scalar()


def _inserted(connection: Connection, row: Insert) -> int:
    key = connection.execute(row).inserted_primary_key
    assert key is not None  # one row was inserted, so it has a key
    return int(key[0])


def _chunk(domain: int, pack: int, place: Place) -> dict[str, object]:
    return {
        "domain": domain,
        "chunk": place.id,
        "pack": pack,
        "ordinal": place.ordinal,
        "offset": place.offset,
        "size": place.size,
        "raw": place.raw,
    }
