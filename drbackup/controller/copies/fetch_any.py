"""Whole objects, from any store that has them whole.

The name of an object is the hash of its bytes. So it does not matter which store the bytes come from, and any store can
repair the damage of another.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import msgspec

from drbackup.controller.home.installation import Installation
from drbackup.errors import DrbackupError, ObjectCorrupt, ObjectMissing, StoreRefused, StoreUnavailable, say
from drbackup.stores.base import Store, digest_in_name, require_match
from drbackup.vault.layout import split_pack_name


class ObjectSources(msgspec.Struct, frozen=True):
    """Stores to ask for an object. When one gives back a damaged pack, the catalog no longer relies on it there."""

    installation: Installation
    stores: tuple[Store, ...]  # asked in this order

    @classmethod
    def named(cls, installation: Installation, names: Iterable[str]) -> Self:
        """The stores with these names that the inventory still has, each once."""
        known = installation.inventory.stores
        return cls(installation, tuple(installation.store(name) for name in dict.fromkeys(names) if name in known))

    def fetch(self, name: str) -> tuple[bytes, str]:
        """(the bytes, the store they are from). Their SHA-256 is compared with the name, which must contain one.

        Raises :class:`StoreUnavailable` or :class:`StoreRefused` when a store that could not be asked may have it. Else
        raises :class:`ObjectCorrupt` when a store has it damaged, and :class:`ObjectMissing` when none has it.
        """
        assert digest_in_name(name), name
        problems: list[DrbackupError] = []
        for store in self.stores:
            try:
                data = store.get(name)
                require_match(name, data)  # whatever the store promises: other stores will rely on these bytes
                return data, store.name
            except ObjectCorrupt as bad:
                problems.append(
                    ObjectCorrupt(say("store {store}: {what}", store=store.name, what=bad.said), where=name)
                )
                self._forget(store, name)
            except (ObjectMissing, StoreUnavailable, StoreRefused) as absent:
                problems.append(absent)
        for kind in (StoreUnavailable, StoreRefused, ObjectCorrupt):
            for problem in problems:
                if isinstance(problem, kind):
                    raise problem
        asked = ", ".join(store.name for store in self.stores) or "no store"
        raise ObjectMissing(say("{name} is nowhere: asked {asked}", name=name, asked=asked), where=name)

    def _forget(self, store: Store, name: str) -> None:
        if (parts := split_pack_name(name)) is not None:
            self.installation.catalog.packs.forget(parts[0], store.name, [(parts[1], parts[2])])
