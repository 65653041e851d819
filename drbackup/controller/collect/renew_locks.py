"""Renewing locks: what kept points need is locked anew when a third of its lock has run out.

A pack is locked when it is stored, but points made years later still rely on it. Without renewal its lock would end
long before theirs. The daemon renews once a day, ``drbackup vault collect --apply`` every time. Renewed is only what a
point or the vault itself needs, and all evidence; nothing else is kept longer than it was meant to be.

A crash loses nothing. What was locked but is not in the catalog yet is locked again, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec

from drbackup.controller.collect.collect import Vaults
from drbackup.controller.collect.survey import Survey, Surveyor
from drbackup.controller.home.installation import Installation
from drbackup.errors import Interrupted, ObjectMissing
from drbackup.model.collect import RENEW_EVERY, Act, PackCopy, Rules, Why, decide_packs, lock_is_short
from drbackup.stores.lock import Locker
from drbackup.stores.registry import open_locker
from drbackup.system.ahead import ahead
from drbackup.system.durable import write_file
from drbackup.system.instants import to_ns
from drbackup.vault.evidence import list_evidence
from drbackup.vault.layout import SEALED_KEYS_PREFIX, VAULT_NAME, digest_in_name, object_name

STAMP_FILE = "locks-renewed"
_LASTING = (Act.PARDON, Act.RETIRE)
_AT_ONCE = 256  # objects between two writes into the catalog


class Renewal(msgspec.Struct, frozen=True):
    """What was renewed in one store."""

    store: str
    packs: int
    records: int
    missing: tuple[str, ...]  # names of objects that should be there and are not: for scrub and repair


@dataclass(slots=True)
class Renewer:
    """One renewal of locks."""

    vaults: Vaults
    lockers: Mapping[str, Locker]  # of the stores where locks are renewed
    now: datetime  # UTC
    stop: Callable[[], bool] = lambda: False  # True ends it early
    _missing: list[str] = field(default_factory=list)

    def renew(self, survey: Survey | None = None) -> tuple[Renewal, ...]:
        """What was renewed in each store: everything needed whose lock is short or not known.

        ``survey``: what the caller has just read, so that it is read only once. Raises the stores' errors, and
        :class:`~drbackup.errors.Interrupted` after ``stop``. What was locked before stays locked.
        """
        if not self.lockers:
            return ()
        read = survey or self._survey()
        return tuple(self._store(name, locker, read) for name, locker in sorted(self.lockers.items()))

    def _survey(self) -> Survey:
        vaults = self.vaults
        keys = vaults.keyring, vaults.evidence_key
        surveyor = Surveyor(vaults.catalog, vaults.stores, self.lockers.keys(), *keys, vaults.readers)
        return surveyor.survey(trees=False)

    def _store(self, name: str, locker: Locker, survey: Survey) -> Renewal:
        self._missing = []
        store = self.vaults.stores[name]
        # No rule lets evidence expire: each piece is part of one chain, which is broken when any piece is gone.
        own = [VAULT_NAME, *sorted(stat.name for stat in store.list(SEALED_KEYS_PREFIX)), *sorted(list_evidence(store))]
        for _ in self._lock(locker, own):
            pass
        packs = sum(self._packs(locker, some) for some in _batches(self._short_packs(locker, survey)))
        records = self._records(locker, [record for record, store in survey.records if store == name])
        return Renewal(name, packs, records, tuple(self._missing))

    def _short_packs(self, locker: Locker, survey: Survey) -> list[PackCopy]:
        decisions = decide_packs(survey.copies, survey.needs, Rules(to_ns(self.now)))
        # What nothing needs is not locked anew.
        lasting = [each for each in decisions if each.act in _LASTING or each.reason.why in (Why.NEEDED, Why.TELLS)]
        needed = [each.copy for each in lasting if each.copy.store == locker.name]
        return [copy for copy in needed if lock_is_short(copy.locked_ns, to_ns(self.now), locker.lock_days)]

    def _packs(self, locker: Locker, copies: Sequence[PackCopy]) -> int:
        by_name = {object_name(copy.domain, copy.pack): copy for copy in copies}
        locked = list(self._lock(locker, list(by_name)))
        for until in {until for _, until in locked}:
            same = [by_name[name] for name, each in locked if each == until]
            self.vaults.catalog.lifecycle.lock(same, to_ns(until))
        return len(locked)

    def _records(self, locker: Locker, names: Sequence[str]) -> int:
        lifecycle = self.vaults.catalog.lifecycle
        known = lifecycle.locks()
        short = [
            name
            for name in names
            if lock_is_short(known.get((digest_in_name(name), locker.name), 0), to_ns(self.now), locker.lock_days)
        ]
        done = 0
        for name, until in self._lock(locker, short):
            lifecycle.lock_record(digest_in_name(name), locker.name, to_ns(until))
            done += 1
        return done

    def _lock(self, locker: Locker, names: Sequence[str]) -> Iterator[tuple[str, datetime]]:
        """(name, UTC instant until when it is locked) of all that are there; the others go to ``_missing``."""
        until = self.now + timedelta(days=locker.lock_days)

        def lock(name: str) -> datetime | None:
            if self.stop():
                raise Interrupted("renewing locks was interrupted")
            try:
                return locker.lock(name, until)
            except ObjectMissing:
                return None

        for name, locked in ahead(lock, names, self.vaults.readers):
            if locked is None:
                self._missing.append(name)
            else:
                yield name, locked


def lockers_of(installation: Installation, stores: Sequence[str] = ()) -> dict[str, Locker]:
    """The lockers of the stores that lock anything: of these stores, or of all when none is named."""
    entries = installation.inventory.stores
    opened = {name: open_locker(name, entries[name]) for name in stores or entries}
    return {name: locker for name, locker in opened.items() if locker is not None}


def renew_locks(
    installation: Installation, now: datetime, stop: Callable[[], bool] = lambda: False
) -> tuple[Renewal, ...]:
    """What was renewed in each store that locks anything; the time of the renewal is durable in the home.

    Raises the stores' errors, and :class:`~drbackup.errors.Interrupted` after ``stop``.
    """
    lockers = lockers_of(installation)
    for name in lockers:
        installation.vault(name)
    stores = {name: installation.store(name) for name in installation.inventory.stores}
    vaults = Vaults(installation.catalog, stores, {}, installation.keyring, installation.signer.public)
    renewed = Renewer(vaults, lockers, now, stop).renew()
    note_renewal(installation, now)
    return renewed


def note_renewal(installation: Installation, now: datetime) -> None:
    """A durable file in the home that says when the locks of all stores were renewed."""
    write_file(installation.home / STAMP_FILE, f"{now.astimezone(UTC).isoformat()}\n".encode("ascii"))


def last_renewal(installation: Installation) -> datetime | None:
    """The UTC instant when the locks of all stores were last renewed; None: never, or the file can't be read."""
    try:
        last = datetime.fromisoformat((installation.home / STAMP_FILE).read_text("ascii").strip())
    except (OSError, ValueError):
        return None
    return last if last.tzinfo else None


def renewal_is_due(installation: Installation, now: datetime) -> bool:
    """Whether a day has passed since locks were renewed, and some store locks anything."""
    if not any(entry.lock_days for entry in installation.inventory.stores.values()):
        return False
    last = last_renewal(installation)
    return last is None or not now - RENEW_EVERY < last <= now


def _batches(copies: Sequence[PackCopy]) -> Iterator[Sequence[PackCopy]]:
    return (copies[begin : begin + _AT_ONCE] for begin in range(0, len(copies), _AT_ONCE))
