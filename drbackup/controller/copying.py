"""Second copies: sealed packs and records from one store to another, through the backup centre.

Nobody here can open what passes. Order: packs first, the record last, so that a record is never in a store without its
packs. A crash midway leaves packs without a record, which the next run finds in place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from drbackup.controller.catalog.instants import to_ns
from drbackup.controller.installation import Installation
from drbackup.controller.presence import missing_packs, object_name
from drbackup.errors import ObjectCorrupt, PacksMissing
from drbackup.model.collecting import lock_end_ns
from drbackup.model.point import Point
from drbackup.stores.base import Store
from drbackup.vault.record import decode_record

_AT_ONCE = 3  # packs in memory at the same time, about 32 MiB each


@dataclass(frozen=True, slots=True)
class Copier:
    """Copies into one store. Raises the stores' errors; what was copied before stays."""

    installation: Installation
    target: Store
    now: Callable[[], datetime]

    def packs(self, source: Store, domain: str, packs: Sequence[bytes]) -> int:
        """Bring every pack (kind letter + SHA-256) that the target lacks; how many that were."""
        known, begun = self.installation.catalog.packs, to_ns(self.now())
        condemned = self.installation.catalog.lives.condemned(domain, self.target.name, packs)
        if condemned:
            raise PacksMissing(
                f"{len(condemned)} packs that are needed are condemned in store {self.target.name}",
                where=object_name(domain, condemned[0]),
                hint=f"the next collect pardons them: drbackup vault collect {self.target.name} --apply",
            )
        missing = missing_packs(self.target, domain, packs, known.sizes(domain, packs))
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="copy") as pool:
            # A failed one is raised when its result is taken; those behind it are then not started.
            tasks = [pool.submit(self._one, source, domain, pack) for pack in missing]
            try:
                for task in tasks:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
        locked = lock_end_ns(begun, self.installation.inventory.stores[self.target.name].lock_days)
        known.add_copies(domain, self.target.name, missing, now=self.now(), locked_ns=locked)
        known.add_copies(domain, self.target.name, packs, now=self.now())  # was there: since when is it locked?
        return len(missing)

    def point(self, point: Point) -> None:
        """Bring an earlier point that this store lacks: its packs, then its record."""
        source = self.installation.store(point.copies[0])
        data = source.get(point.name)
        record = decode_record(data, point.name, self.installation.signer.public)
        self.packs(source, record.domain, record.packs)
        self.target.put(point.name, data)
        self.installation.catalog.points.add_copy(point.id, self.target.name, now=self.now())

    def _one(self, source: Store, domain: str, pack: bytes) -> None:
        name = object_name(domain, pack)
        data = source.get(name)
        if hashlib.sha256(data).digest() != pack[1:]:
            raise ObjectCorrupt(f"{name} in store {source.name} does not match its name", where=name)
        self.target.put(name, data)
