"""Scrub: a store is read back, byte by byte, without any secret key.

Every record names its packs in clear text, and every object's name is the hash of its bytes. So a scrub needs only the
vault's public evidence key. Points whose packs were all read back whole climb to ``checksummed``; points with damage
fall to ``written``. Nothing in the store is written or removed. Damage is reported, and later runs do not rely on it
any more; :mod:`drbackup.controller.copies.repair` repairs it.

What was read is in the catalog two seconds later. So a scrub that is killed loses no more than that. A rolling scrub
goes on with what was not read for the longest time.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from drbackup.controller.catalog.scrub import Coverage
from drbackup.controller.copies.health import CopyHealth, RecordCache, judge_copies
from drbackup.controller.copies.read_back import (
    RateLimit,
    ReadResult,
    list_few,
    read_back,
    readers_for,
    require_there,
    witness,
)
from drbackup.controller.home.installation import Installation
from drbackup.errors import ObjectCorrupt, SignatureInvalid, UsageError, VaultMissing
from drbackup.model.point import pack_id
from drbackup.model.scrub import next_slice
from drbackup.stores.base import Store
from drbackup.system.instants import to_ns
from drbackup.vault.description import read_vault
from drbackup.vault.evidence import EVIDENCE_PREFIX
from drbackup.vault.layout import (
    SEALED_KEYS_PREFIX,
    VAULT_NAME,
    digest_in_name,
    object_name,
    record_prefix,
    split_pack_name,
)

_NOTE_SECONDS = 2.0  # between two writes into the catalog
_EARLIER = "was found damaged or missing before, and is not mended"

Watch = Callable[[int, int, int], None]  # packs done, packs in all, bytes read


class ScrubRequest(msgspec.Struct, frozen=True):
    """What a scrub reads, and how fast. At most one of ``system``, ``within`` and ``unread_for`` is given."""

    system: str = ""  # only what this system's points need; empty: everything
    within: timedelta | None = None  # one slice of a rolling scrub that reads everything within this time
    unread_for: timedelta | None = None  # only what was not read back for this time
    rate: int = 0  # bytes a second; 0: no limit
    stop: threading.Event | None = None
    watch: Watch | None = None

    def __post_init__(self) -> None:
        if sum(bool(each) for each in (self.system, self.within, self.unread_for)) > 1:
            raise UsageError("say only one of a system, a period and an age: each chooses what is read")


class Damage(msgspec.Struct, frozen=True):
    """One object that is damaged or missing."""

    name: str
    why: str  # what is wrong with it
    points: tuple[str, ...]  # the ids of the points that need it


class ScrubReport(msgspec.Struct, frozen=True):
    """What a scrub of one store found."""

    store: str
    records: int  # that are sound
    packs: int  # read back now
    bytes: int  # read back now
    damages: tuple[Damage, ...]
    proven: tuple[str, ...]  # the ids of points whose packs were all read back whole, now or earlier
    within: timedelta  # the time of ``coverage``
    coverage: Coverage  # of all packs of the store

    @property
    def good(self) -> bool:
        """Whether no damage was found."""
        return not self.damages


def scrub(
    installation: Installation, store_name: str, request: ScrubRequest | None = None, *, now: Callable[[], datetime]
) -> ScrubReport:
    """The report on a store that was read back as ``request`` says. The catalog has what was read, damaged and proven.

    Raises the store's errors, such as :class:`~drbackup.errors.StoreUnavailable`, when it does not answer. Raises
    :class:`VaultMissing` when nothing of ours is there. What could not be read is neither whole nor damaged.
    """
    return _Scrub(installation, store_name, request or ScrubRequest(), now).run()


@dataclass
class _Scrub:
    """One scrub of one store, run by one thread."""

    installation: Installation
    store_name: str
    request: ScrubRequest
    now: Callable[[], datetime]
    found: dict[str, str] = field(default_factory=dict)  # object → what is wrong with it, seen now
    whole: dict[str, int] = field(default_factory=dict)  # pack's object → row's number, read but not yet noted
    noted_at: float = 0.0
    listed: list[str] = field(default_factory=list)  # names of records, evidence and sealed keys
    packs: int = 0  # read so far
    bytes: int = 0  # read so far

    def __post_init__(self) -> None:
        self.catalog = self.installation.catalog
        self.store: Store = self.installation.store(self.store_name)
        self.key = self.installation.signer.public
        self.records = RecordCache(self.store, self.key)
        self.readers = readers_for(self.installation.inventory.stores[self.store_name])

    def run(self) -> ScrubReport:
        """The report, after everything was read and judged. Raises as :func:`scrub` does."""
        self.witness = witness(self.store, self.key)
        self.listed = list_few(self.store, (record_prefix(""), EVIDENCE_PREFIX, SEALED_KEYS_PREFIX))
        records = self._record_names()
        numbers = self._to_read(records)
        with RateLimit(self.request.rate, self.request.stop) as rate_limit:
            self._small_objects(rate_limit)
            strange = self._packs(numbers, rate_limit)
        health = self._judge(records, strange)
        return self._report(health)

    # --- what there is to read ---

    def _record_names(self) -> list[str]:
        """The names of all records that are there, and of all that must be there, sorted."""
        wanted = record_prefix(self.request.system)
        listed = {name for name in self.listed if name.startswith(wanted)}
        return sorted(listed | self.catalog.scrubs.expected(self.store_name, self.request.system).keys())

    def _to_read(self, records: Iterable[str]) -> dict[str, int]:
        """Pack's object → its row's number (0: the catalog does not know the pack), in the order of reading."""
        copies = self.catalog.scrubs.copies(self.store_name)
        now = self.now()
        if self.request.within is not None:
            chosen = next_slice(copies, now=now, within=self.request.within)
            return {object_name(each.domain, each.pack): each.number for each in chosen}
        oldest_first = sorted(copies, key=lambda each: (each.read_at is not None, each.known_whole, each.pack))
        known = {object_name(each.domain, each.pack): each for each in oldest_first}
        if self.request.unread_for is not None:
            before = now - self.request.unread_for
            return {name: each.number for name, each in known.items() if not each.read_at or each.read_at < before}
        needed = self._needed(records)
        if self.request.system:
            return {name: known[name].number if name in known else 0 for name in sorted(needed)}
        return {name: each.number for name, each in known.items()} | dict.fromkeys(sorted(needed - known.keys()), 0)

    def _needed(self, records: Iterable[str]) -> set[str]:
        needed: set[str] = set()
        for _, record in self.records.walk(records):
            if not isinstance(record, str):
                needed.update(object_name(record.domain, pack) for pack in record.packs)
        return needed

    # --- reading ---

    def _small_objects(self, rate_limit: RateLimit) -> None:
        """The vault's description, evidence and sealed keys are few and small, so every scrub reads them all."""
        if self.witness != VAULT_NAME:  # as the witness it was read already, and is sound
            try:
                read_vault(self.store, self.key)
            except (VaultMissing, ObjectCorrupt, SignatureInvalid) as bad:
                self.found[VAULT_NAME] = bad.message
        names = [name for name in self.listed if name.startswith((EVIDENCE_PREFIX, SEALED_KEYS_PREFIX))]
        for seen in read_back(self.store, filter(digest_in_name, names), rate_limit, self.readers):
            self.bytes += seen.size
            if seen.why:
                self._damaged(seen)

    def _packs(self, numbers: Mapping[str, int], rate_limit: RateLimit) -> dict[str, int]:
        """Packs that are whole although the catalog does not know them → UTC ns when they were read."""
        strange: dict[str, int] = {}
        self.noted_at = time.monotonic()
        try:
            for seen in read_back(self.store, numbers, rate_limit, self.readers):
                self.packs += 1
                self.bytes += seen.size
                if seen.why:
                    self._bad_pack(seen, numbers[seen.name])
                elif numbers[seen.name]:
                    self.whole[seen.name] = numbers[seen.name]
                else:
                    strange[seen.name] = to_ns(self.now())
                if time.monotonic() - self.noted_at > _NOTE_SECONDS:
                    self._note()
                if self.request.watch is not None:
                    self.request.watch(self.packs, len(numbers), self.bytes)
        finally:
            self._note()  # however it ends, what was read counts
        return strange

    def _note(self) -> None:
        if self.whole:
            self.catalog.scrubs.note(self.store_name, list(self.whole.values()), now=self.now())
            self.whole.clear()
        self.noted_at = time.monotonic()

    def _damaged(self, seen: ReadResult) -> None:
        """One more damaged object. Raises :class:`~drbackup.errors.StoreUnavailable` when the whole store went away."""
        require_there(self.store, self.witness, self.key)
        self.found[seen.name] = seen.why

    def _bad_pack(self, seen: ReadResult, number: int) -> None:
        require_there(self.store, self.witness, self.key)
        if number and not self.catalog.scrubs.living(self.store_name, number):
            return  # collected since it was listed
        self.found[seen.name] = seen.why
        # At once, not at the end: no run that begins now may rely on it, and it stays known when the scrub is killed.
        # Every later scrub names what a point needs and the store is not known to hold.
        forget(self.installation, self.store_name, [seen.name])

    # --- judging ---

    def _judge(self, records: Iterable[str], strange: Mapping[str, int]) -> CopyHealth:
        found_again = {name: when for name, when in strange.items() if name not in self.found}
        regain(self.installation, self.store_name, found_again, now=self.now())
        reads = self.catalog.scrubs.reads(self.store_name)
        for name, when in found_again.items():  # packs of records that the catalog does not know either
            if (parts := split_pack_name(name)) is not None:
                reads.setdefault(parts[0], {}).setdefault(pack_id(parts[1], parts[2]), when)
        health = judge_copies(self.records, records, reads, now_ns=to_ns(self.now()))
        if health.unsound:
            require_there(self.store, self.witness, self.key)
            self._leave_out_collected(health)
        self.catalog.scrubs.judge(self.store_name, health.since, now=self.now())
        return health

    def _leave_out_collected(self, health: CopyHealth) -> None:
        """Health without the records that were collected while we read: they are gone, and nobody expects them."""
        expected = self.catalog.scrubs.expected(self.store_name)
        for name in [name for name in health.unsound if name not in expected]:
            if self.store.stat(name) is None:
                del health.unsound[name]
                del health.since[digest_in_name(name)]

    def _report(self, health: CopyHealth) -> ScrubReport:
        why = {**dict.fromkeys(health.needed_by, _EARLIER), **health.unsound, **self.found}
        needed = defaultdict(list, health.needed_by)
        for name in health.unsound:
            needed[name] = [digest_in_name(name)]
        damages = tuple(
            Damage(name, why[name] if why[name] is not _EARLIER else f"{name} {_EARLIER}", tuple(sorted(needed[name])))
            for name in sorted(why)
        )
        within = self.request.within or self.installation.inventory.stores[self.store_name].scrub.within
        coverage = self.catalog.scrubs.coverage(self.store_name, now=self.now(), within=within)
        sound = len(health.since) - len(health.unsound)
        return ScrubReport(self.store_name, sound, self.packs, self.bytes, damages, health.proven, within, coverage)


def forget(installation: Installation, store: str, names: Iterable[str]) -> None:
    """Packs, by their objects' names, that no later run relies on: their chunks are sent again."""
    for name in names:
        if (parts := split_pack_name(name)) is not None:
            installation.catalog.packs.forget(parts[0], store, [(parts[1], parts[2])])


def regain(installation: Installation, store: str, names: Iterable[str], *, now: datetime) -> None:
    """Packs, by their objects' names, that the store is known to hold from now on: they were read back whole."""
    domains: dict[str, list[bytes]] = defaultdict(list)
    for name in names:
        if (parts := split_pack_name(name)) is not None:
            domains[parts[0]].append(pack_id(parts[1], parts[2]))
    catalog = installation.catalog
    for domain, packs in domains.items():
        catalog.packs.add_copies(domain, store, packs, now=now)
        catalog.scrubs.note(store, list(catalog.scrubs.numbers(domain, packs).values()), now=now)
