"""The survey before a collect judges anything: which packs there are, and which records name them.

A listing alone never proves that a record does not exist, so every point of the catalog is also read by its name. A
record that can't be read anywhere keeps all packs of its domain.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from drbackup.controller.catalog import Catalog
from drbackup.controller.collect.liveness import LiveCount
from drbackup.errors import NOT_SOUND, DrbackupError, StoreFull, StoreRefused, StoreUnavailable
from drbackup.model.collect import Needs, PackCopy
from drbackup.model.point import Point, pack_id
from drbackup.stores.base import Store
from drbackup.system.ahead import ahead
from drbackup.system.instants import to_ns
from drbackup.vault.keys import Keyring
from drbackup.vault.layout import DOMAINS_PREFIX, digest_in_name, split_pack_name
from drbackup.vault.record import Record, list_records, read_record

_SILENT = (StoreUnavailable, StoreRefused, StoreFull)


class ReadRecord(msgspec.Struct, frozen=True):
    """One record that was read."""

    name: str
    store: str  # where it was read
    record: Record


class Survey(msgspec.Struct, frozen=True):
    """The packs and records of the stores at one moment."""

    needs: Needs  # which packs the records name
    copies: tuple[PackCopy, ...]  # every pack of every store that is collected
    records: tuple[tuple[str, str], ...]  # (name, store) of every record that stays
    notes: tuple[str, ...]  # what a person should look at


@dataclass(slots=True)
class Surveyor:
    """The reader for a survey. It reads every store once."""

    catalog: Catalog
    stores: Mapping[str, Store]  # all that may hold records
    collected: Collection[str]  # those whose packs are judged: they must answer
    keyring: Keyring  # the catalog key
    evidence_key: bytes  # Ed25519, public
    readers: int = 8  # requests at once; 1: everything happens in the caller's thread, in one order
    _notes: list[str] = field(default_factory=list)
    _unread: dict[str, str] = field(default_factory=dict)  # domain → a record of it that can't be read

    def survey(self, without: Collection[str] = (), *, trees: bool = True) -> Survey:
        """The survey of all stores.

        ``without``: ids of points whose records count as gone. ``trees``: whether the bytes in use are counted, too.
        Raises the errors of the stores that are collected.
        """
        self._notes, self._unread = [], {}
        listed = [copy for name in sorted(self.collected) for copy in self._copies(name)]
        where = self._where(without)
        needed: dict[str, set[bytes]] = {}
        live = LiveCount({(copy.domain, copy.pack): copy.size for copy in listed}, self.keyring)
        for sight in self._read(where):
            needed.setdefault(sight.record.domain, set()).update(sight.record.packs)
            if trees:
                live.count(sight.record, self.stores[sight.store], sight.name)
        counted = live.result(self._unread) if trees else {}
        return Survey(
            Needs(needed, counted, dict(self._unread)),
            tuple(listed),
            tuple((name, store) for name, stores in where.items() for store in stores if store in self.collected),
            (*self._notes, *live.notes),
        )

    # --- packs ----------------------------------------------------------------------------------------------------

    def _copies(self, store: str) -> Iterator[PackCopy]:
        listed = {}
        for stat in self.stores[store].list(DOMAINS_PREFIX):
            parts = split_pack_name(stat.name)
            if parts is None:
                self._notes.append(f"{store}: {stat.name} is nothing of ours: it stays")
            else:
                domain, kind, digest = parts
                listed[domain, pack_id(kind, digest)] = stat
        for copy in self.catalog.lifecycle.copies(store):
            listed.pop((copy.domain, copy.pack), None)
            yield copy
        for (domain, pack), stat in sorted(listed.items()):
            stored = to_ns(stat.stored_at) if stat.stored_at else 0
            yield PackCopy(store, domain, pack, stat.size, stored, known=False)

    # --- records --------------------------------------------------------------------------------------------------

    def _where(self, without: Collection[str]) -> dict[str, list[str]]:
        """Record name → the stores that have it, by their listing or by what the catalog knows."""
        where: dict[str, list[str]] = {}
        for store in sorted(self.stores, key=lambda name: (name not in self.collected, name)):
            try:
                names = [stat.name for stat in list_records(self.stores[store])]
            except _SILENT as silent:
                if store in self.collected:
                    raise
                self._notes.append(f"{store} does not answer ({silent.message}): the catalog is believed about it")
                continue
            for name in names:
                where.setdefault(name, []).append(store)
        for point in self.catalog.points.list():
            known = where.setdefault(point.name, [])
            known += [store for store in point.copies if store in self.stores and store not in known]
        return {name: stores for name, stores in sorted(where.items()) if digest_in_name(name) not in without}

    def _read(self, where: Mapping[str, list[str]]) -> Iterator[ReadRecord]:
        domains: dict[str, Point] = {point.name: point for point in self.catalog.points.list()}
        for name, found in ahead(lambda name: self._read_one(name, where[name]), where, self.readers):
            if isinstance(found, ReadRecord):
                yield found
                continue
            point = domains.get(name)
            self._unread[point.domain if point else ""] = name
            kept = f"every pack of {point.domain}" if point else "every pack"
            self._notes.append(f"{name} can't be read, so {kept} stays: {found}")

    def _read_one(self, name: str, stores: list[str]) -> ReadRecord | str:
        """The record from the first store that has it sound; without one, what is wrong with it."""
        wrong = "no store has it"
        for store in stores:
            try:
                return ReadRecord(name, store, read_record(self.stores[store], name, self.evidence_key))
            except NOT_SOUND as bad:
                wrong = bad.message
            except _SILENT as silent:
                wrong = self._silent(store, silent)
        return wrong

    def _silent(self, store: str, fault: DrbackupError) -> str:
        if store in self.collected:
            raise fault
        return fault.message
