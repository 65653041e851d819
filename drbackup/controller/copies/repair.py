"""Mending a store from the others: what is damaged or missing is fetched where it is whole, compared with its name, and
added. Good bytes are never rewritten, and nothing is deleted.

Order: the vault's description, keys and evidence, packs, records; so that a record never comes before its packs. Every
mended object is read back before the catalog counts on it. A repair that is killed leaves some objects mended; the next
one finds the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from drbackup.controller.copies.diagnose import HOME, STORE_IS_ILL, Examined, Kind, Wound
from drbackup.controller.copies.fetch_any import Donors
from drbackup.controller.copies.health import RecordShelf, stand
from drbackup.controller.copies.read_back import require_there
from drbackup.controller.copies.scrub import regain
from drbackup.controller.evidence import objects_in
from drbackup.controller.home.initialise import read_description
from drbackup.controller.home.installation import Installation
from drbackup.errors import (
    DrbackupError,
    Interrupted,
    ObjectCorrupt,
    ObjectMissing,
)
from drbackup.model.collect import lock_end_ns
from drbackup.system.instants import to_ns
from drbackup.vault.description import encode_vault, read_vault
from drbackup.vault.layout import VAULT_NAME, split_pack_name
from drbackup.vault.record import list_records

_AT_ONCE = 4  # packs in memory at the same time, about 32 MiB each

Watch = Callable[[int, int, int], None]  # objects mended or given up, in all, bytes mended


@dataclass(slots=True)
class Repaired:
    """``mended``: with the store each is from. ``failed``: with why. ``proven``: store → how many points it proves."""

    mended: list[tuple[Wound, str]] = field(default_factory=list)
    failed: list[tuple[Wound, DrbackupError]] = field(default_factory=list)
    proven: dict[str, int] = field(default_factory=dict)

    @property
    def lost(self) -> tuple[str, ...]:
        """Ids of points that still need something."""
        return tuple(sorted({point for wound, _ in self.failed for point in wound.points}))


def repair(
    installation: Installation,
    examined: Examined,
    *,
    now: Callable[[], datetime],
    stop: threading.Event | None = None,
    watch: Watch | None = None,
) -> Repaired:
    """Mend every wound that can be mended, then judge where the points stand.

    Raises :class:`Interrupted` when ``stop`` is set: what was mended stays. A store's errors are in the result.
    """
    work = _Repair(installation, examined, now, stop, watch)
    for store, name in examined.recovered:
        regain(installation, store, [name], now=now())
    for store in examined.stores:
        of_store = [wound for wound in examined.wounds if wound.store == store]
        for kind in Kind:
            work.mend_all([wound for wound in of_store if wound.kind == kind])
    for store in examined.stores:
        work.judge(store)
    return work.result


class _Repair:
    def __init__(
        self,
        installation: Installation,
        examined: Examined,
        now: Callable[[], datetime],
        stop: threading.Event | None,
        watch: Watch | None,
    ) -> None:
        self.result = Repaired()
        self._installation = installation
        self._now = now
        self._stop = stop
        self._watch = watch
        self._total = len(examined.wounds)
        self._witnesses = examined.witnesses
        self._bytes = 0
        self._ill: dict[str, DrbackupError] = {}  # stores that took nothing any more

    def mend_all(self, wounds: list[Wound]) -> None:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="mend") as pool:
            tasks = [(wound, pool.submit(self._mend, wound)) for wound in wounds]
            try:
                for wound, task in tasks:
                    try:
                        self.result.mended.append((wound, task.result()))
                        self._bytes += wound.size
                    except Interrupted:
                        raise
                    except DrbackupError as failed:
                        self.result.failed.append((wound, failed))
                    if self._watch is not None:
                        done = len(self.result.mended) + len(self.result.failed)
                        self._watch(done, self._total, self._bytes)
            finally:
                for _, task in tasks:
                    task.cancel()

    def _mend(self, wound: Wound) -> str:
        if self._stop is not None and self._stop.is_set():
            raise Interrupted("the repair was stopped")
        if wound.store in self._ill:
            raise self._ill[wound.store]
        store, begun = self._installation.store(wound.store), to_ns(self._now())
        data, donor = self._fetch(wound)
        if wound.kind is Kind.RECORD:
            self._require_wanted(wound)
        try:
            # An unmounted disk leaves an empty folder: what is added there is lost, and fills another disk.
            require_there(store, self._witnesses[wound.store], self._installation.signer.public)
            store.mend(wound.name, data)
            store.check(wound.name)  # it counts when it was read back
        except STORE_IS_ILL as ill:
            self._ill[wound.store] = ill
            raise
        locked = lock_end_ns(begun, self._installation.inventory.stores[wound.store].lock_days)
        if wound.kind is Kind.RECORD:
            self._installation.catalog.lives.lock_record(wound.points[0], wound.store, locked)
        if (parts := split_pack_name(wound.name)) is not None:
            pack = parts[1].encode() + parts[2]
            packs = self._installation.catalog.packs
            packs.add_copies(parts[0], wound.store, [pack], now=self._now(), locked_ns=locked)
            regain(self._installation, wound.store, [wound.name], now=self._now())
        return donor

    def _fetch(self, wound: Wound) -> tuple[bytes, str]:
        if wound.name == VAULT_NAME:
            return self._description(wound)
        if not wound.donors:
            raise ObjectMissing(f"{wound.name} is whole in no store that answers", where=wound.name)
        try:
            return Donors.named(self._installation, wound.donors).fetch(wound.name)
        except (ObjectMissing, ObjectCorrupt):
            if HOME not in wound.donors:
                raise
        # mend compares it with the name
        return objects_in(self._installation.evidence_folder)[wound.name].read_bytes(), HOME

    def _description(self, wound: Wound) -> tuple[bytes, str]:
        """As another store has it, signed by our key; else as the home has it."""
        for name in wound.donors:
            if name != HOME:
                store = self._installation.store(name)
                read_vault(store, self._installation.signer.public)
                return store.get(VAULT_NAME), name
        return encode_vault(read_description(self._installation.home), self._installation.signer), HOME

    def _require_wanted(self, wound: Wound) -> None:
        """Asked just before: a record that a collector has removed must not come back."""
        if wound.name not in self._installation.catalog.scrubs.expected(wound.store):
            raise ObjectMissing(f"{wound.name} is of a point that nobody expects any more", where=wound.name)

    def judge(self, name: str) -> None:
        """Let the points climb that are whole again."""
        store, catalog = self._installation.store(name), self._installation.catalog
        try:
            names = {stat.name for stat in list_records(store)} | catalog.scrubs.expected(name).keys()
            shelf = RecordShelf(store, self._installation.signer.public)
            standing = stand(shelf, sorted(names), catalog.scrubs.reads(name), now_ns=to_ns(self._now()))
        except STORE_IS_ILL:
            return  # it is among the failures already, or will be judged by the next scrub
        self.result.proven[name] = catalog.scrubs.judge(name, standing.since, now=self._now())
