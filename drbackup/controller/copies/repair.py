"""The repair of a store from the other stores.

What is damaged or missing is fetched where it is whole, compared with its name, and added. Good bytes are never written
again, and nothing is deleted.

Order: the vault's description, keys, evidence, packs, records. So a record never comes before its packs. Every repaired
object is read back before the catalog relies on it. A repair that is killed leaves some objects repaired; the next one
does the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from drbackup.controller.copies.diagnose import HOME, STORE_IS_ILL, Defect, DefectKind, Diagnosis
from drbackup.controller.copies.fetch_any import ObjectSources
from drbackup.controller.copies.health import RecordCache, judge_copies
from drbackup.controller.copies.read_back import require_there
from drbackup.controller.copies.scrub import regain
from drbackup.controller.evidence import objects_in
from drbackup.controller.home.initialise import read_description
from drbackup.controller.home.installation import Installation
from drbackup.errors import DrbackupError, Interrupted, ObjectCorrupt, ObjectMissing, say
from drbackup.model.collect import lock_end_ns
from drbackup.model.point import pack_id
from drbackup.system.instants import to_ns
from drbackup.vault.description import encode_vault, read_vault
from drbackup.vault.layout import VAULT_NAME, split_pack_name
from drbackup.vault.record import list_records

_AT_ONCE = 4  # packs in memory at the same time, about 32 MiB each

Watch = Callable[[int, int, int], None]  # objects repaired or given up, in all, bytes repaired


@dataclass(slots=True)
class Repaired:
    """The outcome of a repair."""

    mended: list[tuple[Defect, str]] = field(default_factory=list)  # with the store that the bytes are from
    failed: list[tuple[Defect, DrbackupError]] = field(default_factory=list)  # with why
    proven: dict[str, int] = field(default_factory=dict)  # store → number of points whose copy there is whole

    @property
    def lost(self) -> tuple[str, ...]:
        """The ids of the points that still need an object, sorted."""
        return tuple(sorted({point for defect, _ in self.failed for point in defect.points}))


def repair(
    installation: Installation,
    diagnosis: Diagnosis,
    *,
    now: Callable[[], datetime],
    stop: threading.Event | None = None,
    watch: Watch | None = None,
) -> Repaired:
    """The outcome, after every defect that can be repaired was repaired and the points were judged again.

    Raises :class:`Interrupted` when ``stop`` is set; what was repaired stays. A store's errors are in the outcome.
    """
    work = _Repair(installation, diagnosis, now, stop, watch)
    for store, name in diagnosis.recovered:
        regain(installation, store, [name], now=now())
    for store in diagnosis.stores:
        of_store = [defect for defect in diagnosis.defects if defect.store == store]
        for kind in DefectKind:
            work.repair_all([defect for defect in of_store if defect.kind == kind])
    for store in diagnosis.stores:
        work.judge(store)
    return work.result


class _Repair:
    def __init__(
        self,
        installation: Installation,
        diagnosis: Diagnosis,
        now: Callable[[], datetime],
        stop: threading.Event | None,
        watch: Watch | None,
    ) -> None:
        self.result = Repaired()
        self._installation = installation
        self._now = now
        self._stop = stop
        self._watch = watch
        self._total = len(diagnosis.defects)
        self._witnesses = diagnosis.witnesses
        self._bytes = 0
        self._ill: dict[str, DrbackupError] = {}  # stores that failed: nothing more is written there

    def repair_all(self, defects: list[Defect]) -> None:
        """The repair of these defects, several at once. Failures are in the result. Raises :class:`Interrupted`."""
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="mend") as pool:
            tasks = [(defect, pool.submit(self._repair, defect)) for defect in defects]
            try:
                for defect, task in tasks:
                    try:
                        self.result.mended.append((defect, task.result()))
                        self._bytes += defect.size
                    except Interrupted:
                        raise
                    except DrbackupError as failed:
                        self.result.failed.append((defect, failed))
                    if self._watch is not None:
                        done = len(self.result.mended) + len(self.result.failed)
                        self._watch(done, self._total, self._bytes)
            finally:
                for _, task in tasks:
                    task.cancel()

    def _repair(self, defect: Defect) -> str:
        if self._stop is not None and self._stop.is_set():
            raise Interrupted("the repair was stopped")
        if defect.store in self._ill:
            raise self._ill[defect.store]
        store, begun = self._installation.store(defect.store), to_ns(self._now())
        data, donor = self._fetch(defect)
        if defect.kind is DefectKind.RECORD:
            self._require_wanted(defect)
        try:
            # An unmounted disk leaves an empty folder: what is added there is lost, and fills another disk.
            require_there(store, self._witnesses[defect.store], self._installation.signer.public)
            store.repair(defect.name, data)
            store.check(defect.name)  # it counts only when it was read back whole
        except STORE_IS_ILL as ill:
            self._ill[defect.store] = ill
            raise
        locked = lock_end_ns(begun, self._installation.inventory.stores[defect.store].lock_days)
        if defect.kind is DefectKind.RECORD:
            self._installation.catalog.lifecycle.lock_record(defect.points[0], defect.store, locked)
        if (parts := split_pack_name(defect.name)) is not None:
            pack = pack_id(parts[1], parts[2])
            packs = self._installation.catalog.packs
            packs.add_copies(parts[0], defect.store, [pack], now=self._now(), locked_ns=locked)
            regain(self._installation, defect.store, [defect.name], now=self._now())
        return donor

    def _fetch(self, defect: Defect) -> tuple[bytes, str]:
        if defect.name == VAULT_NAME:
            return self._description(defect)
        if not defect.sound_stores:
            raise ObjectMissing(
                say("{defect} is whole in no store that answers", defect=defect.name), where=defect.name
            )
        try:
            return ObjectSources.named(self._installation, defect.sound_stores).fetch(defect.name)
        except (ObjectMissing, ObjectCorrupt):
            if HOME not in defect.sound_stores:
                raise
        # The store compares it with its name when it repairs.
        return objects_in(self._installation.evidence_folder)[defect.name].read_bytes(), HOME

    def _description(self, defect: Defect) -> tuple[bytes, str]:
        """(the vault's description, where it is from): another store's, signed by our key, or else the home's."""
        for name in defect.sound_stores:
            if name != HOME:
                store = self._installation.store(name)
                read_vault(store, self._installation.signer.public)
                return store.get(VAULT_NAME), name
        return encode_vault(read_description(self._installation.home), self._installation.signer), HOME

    def _require_wanted(self, defect: Defect) -> None:
        """A record that the store must still have: asked at the last moment, so that no collected record comes back."""
        if defect.name not in self._installation.catalog.scrubs.expected(defect.store):
            raise ObjectMissing(
                say("{defect} is of a point that nobody expects any more", defect=defect.name), where=defect.name
            )

    def judge(self, name: str) -> None:
        """The points of one store, judged again: those that are whole climb."""
        store, catalog = self._installation.store(name), self._installation.catalog
        try:
            names = {stat.name for stat in list_records(store)} | catalog.scrubs.expected(name).keys()
            records = RecordCache(store, self._installation.signer.public)
            health = judge_copies(records, sorted(names), catalog.scrubs.reads(name), now_ns=to_ns(self._now()))
        except STORE_IS_ILL:
            return  # it is among the failures already, or the next scrub judges its points
        self.result.proven[name] = catalog.scrubs.judge(name, health.since, now=self._now())
