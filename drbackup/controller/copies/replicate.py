"""Second copies: sealed packs and records, copied from one store to another through the backup centre.

Nothing that passes here can be opened here. Packs come first and the record last, so that a store never has a record
without its packs. A crash leaves packs without a record. The catalog knows each pack as soon as it is stored, so the
next copying goes on after it.
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
    """A copier into one store. Raises the stores' errors; what was copied before stays."""

    installation: Installation
    target: Store
    now: Callable[[], datetime]  # UTC

    def packs(self, sound_stores: ObjectSources, domain: str, packs: Sequence[bytes]) -> int:
        """The number of packs (kind letter + SHA-256 each) that the target lacked. It has all of them now.

        Raises :class:`PacksMissing` when some are damaged or condemned in the target: a copier changes neither.
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
        # Of packs that were there before, it is not known until when they are locked.
        known.add_copies(domain, self.target.name, packs, now=self.now())
        return len(missing)

    def point(self, point: Point, *, without: Container[str] = ()) -> None:
        """The copy of an earlier point that the target lacked: its packs, then its record, from any store with them.

        ``without``: stores that are not asked.
        """
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
        """Packs that are whole in the target. Those that the catalog does not know there are read back.

        A scrub may have found such a pack damaged, or a copier died before the catalog knew it. Raises
        :class:`PacksMissing` for a damaged one.
        """
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
        except ObjectExists as other:  # our bytes fit the name, so those that lie there are damaged
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
