"""The packs that the stores hold, and the chunks that lie in them: what an agent need not send again.

The listing says which packs there are; index deltas say what is in them. A tree pack that no delta names is opened with
the catalog key. A data pack that no delta names is known by the trees of the points that use it: an extent has its
chunk's whole place. What is left are data packs of sessions that never ended. Only the recovery key opens them;
without it their chunks are sent again.

A pack's row is written with its chunks in one transaction, and a delta's own row after all the packs that it names. So
a rebuild that dies goes on where it was.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from drbackup.controller.catalog.packs import Pack, Packs
from drbackup.controller.rebuild.points import Fault, FoundPoint, Origin
from drbackup.errors import NOT_SOUND, WrongKey
from drbackup.stores.base import Stat
from drbackup.system.ahead import ahead
from drbackup.vault.index import PackTable, own_table, read_index
from drbackup.vault.layout import DATA, DOMAINS_PREFIX, INDEX, TREE, pack_name, split_pack_name
from drbackup.vault.read.reader import PointReader
from drbackup.vault.store_access import StoreFetch
from drbackup.wire.messages import Place

PackId = tuple[str, str, bytes]  # domain, kind, SHA-256
Watch = Callable[[int, int, int], None]  # deltas read, deltas in all, bytes read


@dataclass(slots=True)
class PackScan:
    """One rebuild's view of the packs."""

    origin: Origin
    packs: Packs | None  # where they are written; None: they are only looked at
    now: datetime  # UTC
    watch: Watch
    faults: list[Fault]  # what is wrong is added here
    notes: list[str]  # what a person should know is added here
    listed: dict[PackId, dict[str, Stat]] = field(default_factory=dict)  # pack → store → its listing
    told: set[PackId] = field(default_factory=set)  # their chunks are known
    said: dict[PackId, bytes] = field(default_factory=dict)  # digest of what a delta said of the pack
    chunks: int = 0  # known by this scan

    def run(self, found: Mapping[str, FoundPoint]) -> None:
        """A scan that knows all packs and their chunks, by the cheapest way first.

        ``found``: the points with a sound record, by id. Raises the stores' errors.
        """
        self._list()
        self._known()
        self._deltas()
        self._trees()
        self._points(found.values())
        self._orphans()

    def holds(self, store: str, pack: PackId) -> bool:
        """Whether a store's listing has the pack."""
        return store in self.listed.get(pack, {})

    @property
    def stored_bytes(self) -> int:
        """The size of all packs together, each counted once."""
        return sum(self._size(pack) for pack in self.listed)

    # --- what there is ---

    def _list(self) -> None:
        for store_name, store in self.origin.stores.items():
            for stat in store.list(DOMAINS_PREFIX):
                pack = split_pack_name(stat.name)
                if pack is None:
                    self.faults.append(Fault(store_name, stat.name, f"{stat.name}: is nothing of ours"))
                else:
                    self.listed.setdefault(pack, {})[store_name] = stat
        for pack, stats in self.listed.items():
            if len({stat.size for stat in stats.values()}) > 1:
                sizes = ", ".join(f"{stat.size} bytes in {store}" for store, stat in stats.items())
                self.faults.append(Fault("", pack_name(*pack), f"{pack_name(*pack)}: {sizes}"))

    def _size(self, pack: PackId) -> int:
        """The greatest size, in bytes, in any store. A damaged pack may be cut short, but never grows."""
        return max(stat.size for stat in self.listed[pack].values())

    def _known(self) -> None:
        """Packs whose rows an earlier attempt has written already."""
        if self.packs is None:
            return
        for domain, kind in {(domain, kind) for domain, kind, _ in self.listed}:
            known = self.packs.known(domain, kind)
            here = (pack for pack in self.listed if pack[:2] == (domain, kind))
            self.told.update(pack for pack in here if known.get(pack[2], frozenset()) >= self.listed[pack].keys())

    def _untold(self, kind: str) -> list[PackId]:
        return sorted(pack for pack in self.listed if pack[1] == kind and pack not in self.told)

    # --- what is in them ---

    def _deltas(self) -> None:
        todo = self._untold(INDEX)
        read = 0
        for number, (pack, data) in enumerate(ahead(self._get, todo), 1):
            read += len(data or b"")
            self.watch(number, len(todo), read)
            if data is None:
                continue
            session = ""
            try:
                own = own_table(data, INDEX, pack[0], self.origin.keyring, (pack[2], pack_name(*pack)))
                for table in read_index(data, pack[0], self.origin.keyring, pack_name(*pack)):
                    session = session or table.session
                    self._tell_named(pack, table)
            except NOT_SOUND as bad:
                self.faults.append(Fault("", pack_name(*pack), bad.message))
                continue
            self._tell(pack, PackTable(session, pack[2], own.places))

    def _tell_named(self, delta: PackId, table: PackTable) -> None:
        """One pack that a delta names. It is written when a store has it and no other delta contradicts."""
        for kind in (DATA, TREE):
            pack = (delta[0], kind, table.pack)
            if pack not in self.listed:
                continue
            digest = hashlib.sha256(msgspec.msgpack.encode(table.places)).digest()
            if not table.fits(self._size(pack)):
                self._name(delta, f"names chunks outside their pack {pack_name(*pack)}")
            elif self.said.setdefault(pack, digest) != digest:
                self._name(delta, f"contradicts another index about {pack_name(*pack)}")
                self._doubt(pack)
            elif pack not in self.told:
                self._tell(pack, table)

    def _doubt(self, pack: PackId) -> None:
        """A pack that nothing new relies on any more, because it is not known which of two deltas is false."""
        if self.packs is not None:
            for store in self.listed[pack]:
                self.packs.forget(pack[0], store, [(pack[1], pack[2])])

    def _name(self, pack: PackId, why: str) -> None:
        self.faults.append(Fault("", pack_name(*pack), f"{pack_name(*pack)}: {why}"))

    def _trees(self) -> None:
        for pack, data in ahead(self._get, self._untold(TREE)):
            if data is not None:
                self._tell_own(pack, data)

    def _points(self, found: Iterable[FoundPoint]) -> None:
        """Data packs that no delta names, known by the tree of the first point that uses them."""
        wanted = set(self._untold(DATA))
        for point in found:
            here = wanted.intersection(point.packs())
            if not here:
                continue
            places = self._places(point, {pack[2] for pack in here})
            for pack in here & {(point.record.domain, DATA, name) for name in places}:
                table = PackTable("", pack[2], tuple(sorted(places[pack[2]].values(), key=lambda each: each.ordinal)))
                if table.fits(self._size(pack)):
                    wanted.discard(pack)
                    self._tell(pack, table)

    def _places(self, point: FoundPoint, packs: set[bytes]) -> Mapping[bytes, dict[bytes, Place]]:
        """Pack → chunk's id → its place, from the first copy whose tree is sound; only chunks of ``packs``."""
        for store in point.stores:
            places: dict[bytes, dict[bytes, Place]] = defaultdict(dict)
            fetch, domain = StoreFetch(self.origin.stores[store]), point.record.domain
            try:
                for entry in PointReader(fetch, self.origin.keyring, domain, point.sealed.root).entries():
                    for extent in entry.extents:
                        if extent.place.pack in packs:
                            places[extent.place.pack][extent.place.id] = extent.place
            except NOT_SOUND as bad:
                self.faults.append(Fault(store, point.name, f"the tree of point {point.identity[:12]}: {bad.message}"))
                continue
            return places
        return {}

    def _orphans(self) -> None:
        """Data packs that neither a delta nor a point names, opened with the recovery key if there is one."""
        closed = 0
        for pack in self._untold(DATA):
            data = self._get(pack) if self.origin.opens_data else None
            if data is None or not self._tell_own(pack, data):
                closed += 1
                self._tell(pack, PackTable("", pack[2], ()))
        if closed:
            self.notes.append(f"{closed} data packs are in no index and no point: their chunks will be sent again")

    def _tell_own(self, pack: PackId, data: bytes) -> bool:
        try:
            table = own_table(data, pack[1], pack[0], self.origin.keyring, (pack[2], pack_name(*pack)))
        except WrongKey:
            return False
        except NOT_SOUND as bad:
            self.faults.append(Fault("", pack_name(*pack), bad.message))
            return False
        self._tell(pack, table)
        return True

    def _get(self, pack: PackId) -> bytes | None:
        """The whole pack from the first store that gives its true bytes; None when none does."""
        name = pack_name(*pack)
        for store in self.listed[pack]:
            try:
                return self.origin.stores[store].get(name)
            except NOT_SOUND as bad:
                self.faults.append(Fault(store, name, bad.message))
        return None

    def _tell(self, pack: PackId, table: PackTable) -> None:
        self.told.add(pack)
        self.chunks += len({place.id for place in table.places})
        if self.packs is None:
            return
        row = Pack(pack[0], pack[1], pack[2], self._size(pack), table.session)
        for store, stat in self.listed[pack].items():
            self.packs.add(row, store, table.places, now=stat.stored_at or self.now)
