"""Second copies: sealed packs and records from one store to another, through the backup centre.

Nobody here can open what passes. Order: packs first, the record last, so that a record is never in a store without its
packs. A crash midway leaves packs without a record, and each of them is known two lines later: the next one goes on
behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import msgspec

from drbackup.controller.copies.fetch_any import ObjectSources
from drbackup.controller.copies.presence import missing_packs
from drbackup.controller.home.installation import Installation
from drbackup.errors import ObjectCorrupt, ObjectExists, ObjectMissing, PacksMissing, say
from drbackup.model.collect import lock_end_ns
from drbackup.model.point import Point
from drbackup.stores.base import Store
from drbackup.system.instants import to_ns
from drbackup.vault.layout import object_name
from drbackup.vault.record import decode_record

_AT_ONCE = 4  # packs in memory at the same time, about 32 MiB each


class Copier(msgspec.Struct, frozen=True):
    """Copies into one store. Raises the stores' errors; what was copied before stays."""

    installation: Installation
    target: Store
    now: Callable[[], datetime]

    def packs(self, sound_stores: ObjectSources, domain: str, packs: Sequence[bytes]) -> int:
        """Bring every pack (kind letter + SHA-256) that the target lacks; how many that were.

        Raises :class:`PacksMissing` when the target holds some of them damaged or condemned: neither is ours to mend.
        """
        known = self.installation.catalog.packs
        condemned = self.installation.catalog.lifecycle.condemned(domain, self.target.name, packs)
        if condemned:
            raise PacksMissing(
                say(
                    "{n} packs that are needed are condemned in store {target}",
                    n=len(condemned),
                    target=self.target.name,
                ),
                where=object_name(domain, condemned[0]),
                hint=say(
                    "the next collect pardons them: drbackup vault collect {target} --apply", target=self.target.name
                ),
            )
        missing = missing_packs(self.target, domain, packs, known.sizes(domain, packs))
        self._require_whole(domain, [pack for pack in packs if pack not in set(missing)])
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="copy") as pool:
            # A failed one is raised when its result is taken; those behind it are then not started.
            tasks = [pool.submit(self._one, sound_stores, domain, pack) for pack in missing]
            try:
                for task in tasks:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
        known.add_copies(domain, self.target.name, packs, now=self.now())  # was there: since when is it locked?
        return len(missing)

    def point(self, point: Point, *, without: Container[str] = ()) -> None:
        """Bring an earlier point that this store lacks, from whatever stores have it: its packs, then its record.
        ``without``: stores not to ask."""
        asked = [name for name in point.copies if name != self.target.name and name not in without]
        sound_stores = ObjectSources.named(self.installation, asked)
        data, _ = sound_stores.fetch(point.name)
        record = decode_record(data, point.name, self.installation.signer.public)
        self.packs(sound_stores, record.domain, record.packs)
        begun = to_ns(self.now())
        self._put(point.name, data)
        self.installation.catalog.points.add_copy(point.id, self.target.name, now=self.now())
        self.installation.catalog.lifecycle.lock_record(point.id, self.target.name, self._locked(begun))

    def _require_whole(self, domain: str, packs: Sequence[bytes]) -> None:
        """Those that are there although the catalog does not say so are read back: a scrub may have found them damaged,
        or a copier died between storing them and saying so."""
        unsure = self.installation.catalog.packs.forgotten(domain, self.target.name, packs)
        for pack in unsure:
            name = object_name(domain, pack)
            try:
                self.target.check(name)
            except (ObjectCorrupt, ObjectMissing) as bad:
                raise self._damaged(name, bad.message) from bad
            self.installation.catalog.packs.add_copies(domain, self.target.name, [pack], now=self.now())

    def _one(self, sound_stores: ObjectSources, domain: str, pack: bytes) -> None:
        name, begun = object_name(domain, pack), to_ns(self.now())
        data, _ = sound_stores.fetch(name)
        self._put(name, data)
        known = self.installation.catalog.packs
        known.add_copies(domain, self.target.name, [pack], now=self.now(), locked_ns=self._locked(begun))

    def _put(self, name: str, data: bytes) -> None:
        try:
            self.target.put(name, data)
        except ObjectExists as other:  # the right bytes were compared with the name: what lies there is damaged
            raise self._damaged(name, other.message) from other

    def _damaged(self, name: str, why: str) -> PacksMissing:
        store = self.target.name
        return PacksMissing(
            say("{name} is damaged in store {store}: {why}", name=name, store=store, why=why),
            where=name,
            hint=say("mend it: drbackup vault repair {store}", store=store),
        )

    def _locked(self, begun_ns: int) -> int:
        return lock_end_ns(begun_ns, self.installation.inventory.stores[self.target.name].lock_days)
