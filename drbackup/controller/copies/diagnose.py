"""The diagnosis of a store: what is damaged or missing, and which other store has it whole. Nothing is written.

A scrub reads everything, and the catalog keeps what it found not whole. A diagnosis reads only what is suspect. That is
every small object, every needed pack that the catalog does not rely on, and every pack not listed with its size. So it
takes seconds where a scrub takes days. It does not find damage that no scrub has found and that no listing shows.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from drbackup.controller.copies.fetch_any import ObjectSources
from drbackup.controller.copies.health import Reads, RecordCache
from drbackup.controller.copies.read_back import RateLimit, read_back, readers_for, require_there, witness
from drbackup.controller.evidence import objects_in
from drbackup.controller.home.installation import Installation
from drbackup.errors import (
    NOT_SOUND,
    DrbackupError,
    ObjectCorrupt,
    SignatureInvalid,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
    VaultMissing,
)
from drbackup.model.point import pack_id
from drbackup.stores.base import Store
from drbackup.vault.description import read_vault
from drbackup.vault.evidence import EVIDENCE_PREFIX
from drbackup.vault.layout import (
    DOMAINS_PREFIX,
    SEALED_KEYS_PREFIX,
    VAULT_NAME,
    digest_in_name,
    domain_prefix,
    object_name,
)
from drbackup.vault.record import Record, decode_record, list_records

STORE_IS_ILL = (StoreUnavailable, StoreRefused, StoreFull)  # errors of a store, which say nothing of an object
HOME = "home"  # stands in ``sound_stores`` for the installation's own home
_HIDDEN = "is there, but something laid over it or a delete marker hides it from listings"


class DefectKind(enum.IntEnum):
    """The kinds of objects, in the order of repair: the vault's description first, and records after their packs."""

    VAULT = 0
    KEYS = 1
    EVIDENCE = 2
    PACK = 3
    RECORD = 4


class Defect(msgspec.Struct, frozen=True):
    """One object of one store that is not whole."""

    store: str
    name: str
    kind: DefectKind
    why: str  # what is wrong with it
    points: tuple[str, ...] = ()  # the ids of the points that need it
    sound_stores: tuple[str, ...] = ()  # that seem to have it whole, the likeliest first; none: it can't be repaired
    size: int = 0  # bytes; 0: not known


@dataclass(slots=True)
class Diagnosis:
    """All that is known to be wrong in the stores that were looked at."""

    stores: list[str] = field(default_factory=list)  # those that were looked at
    defects: list[Defect] = field(default_factory=list)
    # (store, name) of packs that are whole, although the catalog did not rely on them any more.
    recovered: list[tuple[str, str]] = field(default_factory=list)
    away: dict[str, DrbackupError] = field(default_factory=dict)  # store → why it could not be looked at
    # Store → a sound object that proves that the store is there: see read_back.witness.
    witnesses: dict[str, str] = field(default_factory=dict)


Watch = Callable[[int, int, int], None]  # objects looked at, in all, bytes read


def diagnose(
    installation: Installation, targets: Iterable[str] = (), *, now: Callable[[], datetime], watch: Watch | None = None
) -> Diagnosis:
    """The defects of the stores named, or of all, by store, kind and name.

    Every store of the inventory is asked what it has whole. One that does not answer, or that does not hold our vault,
    is in ``away``.
    """
    found = Diagnosis()
    work = _Diagnoser(installation, found, now, watch)
    for name in tuple(targets) or tuple(installation.inventory.stores):
        if name in work.stores:
            try:
                work.look_at(name)
            except STORE_IS_ILL as away:  # what was seen until then is only a part, so it is left out
                found.away[name] = away
                found.defects = [defect for defect in found.defects if defect.store != name]
                found.recovered = [each for each in found.recovered if each[0] != name]
            else:
                found.stores.append(name)
    found.defects.sort(key=lambda each: (each.store, each.kind, each.name))
    return found


class _Diagnoser:
    """One diagnosis, which fills ``found``."""

    def __init__(
        self, installation: Installation, found: Diagnosis, now: Callable[[], datetime], watch: Watch | None
    ) -> None:
        self._installation = installation
        self._found = found
        self._now = now
        self._watch = watch
        self._key = installation.signer.public
        self._catalog = installation.catalog
        self.stores: dict[str, Store] = {}  # those that answer
        self._small: dict[str, set[str]] = {}  # store → names of its evidence and sealed keys
        self._reads: dict[str, Reads] = {}
        for name in installation.inventory.stores:
            store = installation.store(name)
            try:
                found.witnesses[name] = witness(store, self._key)
                prefixes = (EVIDENCE_PREFIX, SEALED_KEYS_PREFIX)
                listed = {stat.name for prefix in prefixes for stat in store.list(prefix)}
            except DrbackupError as away:
                found.away[name] = away
                continue
            self.stores[name] = store
            self._small[name] = {each for each in listed if digest_in_name(each)}
            self._reads[name] = self._catalog.scrubs.reads(name)
        self._small[HOME] = set(objects_in(installation.evidence_folder))

    def look_at(self, name: str) -> None:
        """Defects of one store, added to the diagnosis. Raises the store's errors."""
        store = self.stores[name]
        self._vault(name, store)
        self._small_objects(name, store)
        records = self._records(name, store)
        self._packs(name, store, records)
        # What was missing is then really missing, and not on a disk that is no longer mounted.
        require_there(store, self._found.witnesses[name], self._key)

    # --- small objects ---

    def _vault(self, name: str, store: Store) -> None:
        try:
            read_vault(store, self._key)
        except (VaultMissing, ObjectCorrupt, SignatureInvalid) as bad:
            sound_stores = (*(each for each in self.stores if each != name and self._has_vault(each)), HOME)
            self._found.defects.append(
                Defect(name, VAULT_NAME, DefectKind.VAULT, bad.message, sound_stores=sound_stores)
            )

    def _has_vault(self, name: str) -> bool:
        try:
            read_vault(self.stores[name], self._key)
        except (VaultMissing, *NOT_SOUND, *STORE_IS_ILL):
            return False
        return True

    def _small_objects(self, name: str, store: Store) -> None:
        """Every store must have all evidence and sealed keys that any store or the home has."""
        wanted = sorted(set().union(*self._small.values()))
        for seen in read_back(store, wanted, RateLimit(), self._readers(name)):
            why = seen.why or ("" if seen.name in self._small[name] else f"{seen.name} {_HIDDEN}")
            if why:
                kind = DefectKind.EVIDENCE if seen.name.startswith(EVIDENCE_PREFIX) else DefectKind.KEYS
                sound_stores = [each for each, names in self._small.items() if seen.name in names and each != name]
                sound_stores += [] if seen.why else [name]
                self._found.defects.append(
                    Defect(name, seen.name, kind, why, sound_stores=tuple(sound_stores), size=seen.size)
                )

    # --- records ---

    def _records(self, name: str, store: Store) -> list[str]:
        """The names of the records that are sound in some store and whose packs this store must have.

        Every record that is there, or that must be there, is looked at.
        """
        listed = {stat.name for stat in list_records(store)}
        expected = self._catalog.scrubs.expected(name)
        sound = []
        for record_name, record in RecordCache(store, self._key).walk(sorted(listed | expected.keys())):
            point = (digest_in_name(record_name),)
            if not isinstance(record, str):
                sound.append(record_name)
                if record_name not in listed:
                    why = f"{record_name} {_HIDDEN}"
                    self._found.defects.append(Defect(name, record_name, DefectKind.RECORD, why, point, (name,)))
                continue
            # A record that nobody expects may be a forgery, or is being collected. It is named and left as it is.
            sound_stores = self._record_sound_stores(name, record_name) if record_name in expected else ()
            self._found.defects.append(Defect(name, record_name, DefectKind.RECORD, record, point, sound_stores))
            if sound_stores:
                sound.append(record_name)
        return sound

    def _record_sound_stores(self, name: str, record: str) -> tuple[str, ...]:
        found = []
        for other, store in self.stores.items():
            if other != name:
                try:
                    decode_record(store.get(record), record, self._key)
                except (*NOT_SOUND, *STORE_IS_ILL):
                    continue
                found.append(other)
        return tuple(found)

    # --- packs ---

    def _packs(self, name: str, store: Store, records: list[str]) -> None:
        suspects = self._suspects(name, store, records)
        if not suspects:
            return
        needed_by: dict[str, list[str]] = {each: [] for each in suspects}
        for identity, record in self._walk(store, records):
            for pack in record.packs:
                if (needed := object_name(record.domain, pack)) in needed_by:
                    needed_by[needed].append(identity)
        done, size = 0, 0
        for seen in read_back(store, suspects, RateLimit(), self._readers(name)):
            done, size = done + 1, size + seen.size
            listed = suspects[seen.name]
            if seen.why or not listed:
                points = tuple(sorted(needed_by[seen.name]))
                sound_stores = (*self._sound_stores_of(name, seen.name), *(() if seen.why else (name,)))
                why = seen.why or f"{seen.name} {_HIDDEN}"
                self._found.defects.append(
                    Defect(name, seen.name, DefectKind.PACK, why, points, sound_stores, self._size(seen.name))
                )
            else:
                self._found.recovered.append((name, seen.name))
            if self._watch is not None:
                self._watch(done, len(suspects), size)

    def _suspects(self, name: str, store: Store, records: list[str]) -> dict[str, bool]:
        """Needed packs that are suspect, by their objects' names → whether they are listed with their size.

        Suspect are those that are not listed with their size, and those that the catalog does not rely on.
        """
        needed: dict[str, set[bytes]] = {}
        for _, record in self._walk(store, records):
            needed.setdefault(record.domain, set()).update(record.packs)
        suspects: dict[str, bool] = {}
        for domain, packs in sorted(needed.items()):
            sizes = self._catalog.packs.sizes(domain, sorted(packs))
            listed = {stat.name: stat.size for stat in store.list(domain_prefix(domain))}
            counted_on = self._reads[name].get(domain, {})
            for pack in sorted(packs):
                there = listed.get(object_name(domain, pack))
                listed_whole = there is not None and there == sizes.get(pack, there)
                if pack not in counted_on or not listed_whole:
                    suspects[object_name(domain, pack)] = listed_whole
        return suspects

    def _walk(self, store: Store, records: list[str]) -> Iterator[tuple[str, Record]]:
        """(point's id, record) of each; from another store when this one has the record damaged."""
        cache = RecordCache(store, self._key)
        others = ObjectSources(self._installation, tuple(each for each in self.stores.values() if each is not store))
        for name, record in cache.walk(records):
            sound = decode_record(others.fetch(name)[0], name, self._key) if isinstance(record, str) else record
            yield digest_in_name(name), sound

    def _sound_stores_of(self, name: str, pack: str) -> tuple[str, ...]:
        """The other stores that have a pack whole: first those that the catalog relies on, then those read now."""
        domain, kind, digest = pack.removeprefix(DOMAINS_PREFIX).split("/")
        wanted = pack_id(kind, bytes.fromhex(digest))
        others = [each for each in self.stores if each != name]
        likely = [each for each in others if wanted in self._reads[each].get(domain, {})]
        return (*likely, *(each for each in others if each not in likely and self._is_whole(each, pack)))

    def _is_whole(self, name: str, pack: str) -> bool:
        try:
            self.stores[name].check(pack)
        except (*NOT_SOUND, *STORE_IS_ILL):
            return False
        return True

    def _size(self, name: str) -> int:
        domain, kind, digest = name.removeprefix(DOMAINS_PREFIX).split("/")
        pack = pack_id(kind, bytes.fromhex(digest))
        return self._catalog.packs.sizes(domain, [pack]).get(pack, 0)

    def _readers(self, name: str) -> int:
        return readers_for(self._installation.inventory.stores[name])
