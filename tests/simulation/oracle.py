"""What must hold whatever the schedule does. The oracle looks at stored bytes only, never at the catalog's word.

A point is committed from the moment its record is in its first store. From then on, until retention has let it go and
a collector has removed its record, it must restore byte for byte from one store at least.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from drbackup.controller.backup.adopt import point_of
from drbackup.errors import DrbackupError
from drbackup.model.point import Point
from drbackup.model.retention import decide_retention
from drbackup.vault.keys import CATALOG, DRILL, Keyring
from drbackup.vault.layout import digest_in_name, pack_name
from drbackup.vault.read.reader import PointReader
from drbackup.vault.record import Record, decode_record, unseal
from tests.simulation import city
from tests.simulation.agent import Server
from tests.simulation.clock import Clock
from tests.simulation.store import SimStore, short


class Lost(AssertionError):
    """A promise was broken."""


@dataclass(slots=True)
class Committed:
    """A committed point. ``tree``: what was copied; ``stores``: where its record is; ``needs``: its packs' names."""

    point: Point
    record: Record
    root: bytes
    tree: dict[bytes, bytes]
    stores: set[str]
    needs: frozenset[str]
    read: dict[str, frozenset[str]] = field(default_factory=dict)  # store → what a restore from it really read

    def copy(self) -> Committed:
        return replace(self, stores=set(self.stores))


@dataclass(slots=True)
class _Plain:
    """A store's bytes without steps of a schedule."""

    store: SimStore
    asked: set[str] = field(default_factory=set)
    stretch: int = 1 << 20

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.asked.add(name)
        data = self.store.unseen(name)
        if data is None:
            raise Lost(f"{short(name)} is not in {self.store.name}")
        return data[offset:] if length is None else data[offset : offset + length]

    def fetch(self, kind: str, domain: str, pack: bytes, offset: int, length: int) -> bytes:
        return self.get(pack_name(domain, kind, pack), offset, length)


@dataclass
class Oracle:
    """Listens to the stores. ``gone``: ids of points whose last record was removed."""

    stores: dict[str, SimStore]
    servers: dict[str, Server]
    clock: Clock
    points: dict[str, Committed] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def heard(self, store: SimStore, name: str, there: bool) -> None:
        """An object appeared in ``store`` or went from it."""
        if name.startswith("v1/r/"):
            (self._appeared if there else self._removed)(store, name)
        elif not there:
            for committed in self._needing(name):
                self.require(committed)

    def require_all(self) -> None:
        """Every promise, now."""
        for committed in self.points.values():
            if committed.point.id not in self.gone:
                self.require(committed, thorough=True)
        self._require_newest()

    def require(self, committed: Committed, *, thorough: bool = False) -> None:
        """The point restores byte for byte from one of its stores; when ``thorough``, from each that has its record."""
        problems = []
        for name in sorted(committed.stores):
            try:
                if self.restore(committed, self.stores[name]) != committed.tree:
                    raise Lost("the restored tree is another one")
                if not thorough:
                    return
            except (DrbackupError, Lost) as problem:
                problems.append(f"from {name}: {problem}")
        if problems:
            point = committed.point
            raise Lost(f"{point.system} {point.short} of {point.committed_at:%m-%d %H:%M:%S}: {'; '.join(problems)}")

    def restore(self, committed: Committed, store: SimStore) -> dict[bytes, bytes]:
        """Every file, through the real reader and the drill key. Raises :class:`Lost` or the reader's errors."""
        before = committed.read.get(store.name)
        if before is not None and all(name in store.objects for name in before | committed.needs):
            return committed.tree  # bytes under a name never change here, so what restored once still does
        plain = _Plain(store)
        ring = Keyring([city.keys().ring[DRILL]])
        reader = PointReader(plain, ring, committed.record.domain, committed.root)
        tree = {entry.path: b"".join(reader.content(entry)) for entry in reader.entries()}
        committed.read[store.name] = frozenset(plain.asked)
        return tree

    # --- inside ----------------------------------------------------------------------------------------------------

    def _appeared(self, store: SimStore, name: str) -> None:
        identity = digest_in_name(name)
        known = self.points.get(identity)
        if known is None:
            record = decode_record(store.objects[name].data, name, city.keys().signer.public)
            sealed = unseal(record, Keyring([city.keys().ring[CATALOG]]))
            tree = self.servers[record.domain].pinned[record.session]
            needs = frozenset(pack_name(record.domain, chr(pack[0]), pack[1:]) for pack in record.packs)
            point = point_of(record, sealed, (identity, name), (store.name,))
            known = self.points[identity] = Committed(point, record, sealed.root, tree, set(), needs)
        known.stores.add(store.name)
        self.require(known, thorough=True)

    def _removed(self, store: SimStore, name: str) -> None:
        committed = self.points[digest_in_name(name)]
        committed.stores.discard(store.name)
        if committed.point.id in self.gone:
            return
        alive = [each.point for each in self.alive() if each.point.system == committed.point.system]
        keep = city.policies().policies[committed.point.system].keep
        ruling = decide_retention([*alive, committed.point], keep, self.clock.now(), "UTC")
        if committed.point.id not in {each.point.id for each in ruling.drop}:
            raise Lost(f"the record of {committed.point.system} {committed.point.short} was removed: {ruling.keep}")
        if not committed.stores:
            self.gone.add(committed.point.id)

    def alive(self) -> Iterator[Committed]:
        """Every point that must restore."""
        return (each for each in self.points.values() if each.stores and each.point.id not in self.gone)

    def _needing(self, name: str) -> Iterator[Committed]:
        return (each for each in self.alive() if name in each.needs)

    def _require_newest(self) -> None:
        """The newest point of each source is never dropped."""
        for system, source in city.SOURCES:
            ours = [each for each in self.points.values() if (each.point.system, each.point.source) == (system, source)]
            if ours and max(ours, key=lambda each: each.record.pinned_ns).point.id in self.gone:
                raise Lost(f"{system}/{source}: its newest point was dropped")
