"""Whole objects, from whichever store has them whole.

What every copy of an object shares is its name, and its name is the hash of its bytes: so it never matters where the
bytes come from, and one store's damage is mended by any other.
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
    """Stores to ask for an object, in this order. A pack that one of them gives back damaged is not relied upon there
    any more; nothing else is concluded."""

    installation: Installation
    stores: tuple[Store, ...]

    @classmethod
    def named(cls, installation: Installation, names: Iterable[str]) -> Self:
        """Those of ``names`` that the inventory still knows."""
        known = installation.inventory.stores
        return cls(installation, tuple(installation.store(name) for name in dict.fromkeys(names) if name in known))

    def fetch(self, name: str) -> tuple[bytes, str]:
        """(the bytes, the store they are from), compared with the name, which must be a hashed one.

        Raises :class:`StoreUnavailable` or :class:`StoreRefused` when a store that could not be asked may have it; else
        :class:`ObjectCorrupt` when one has it damaged, :class:`ObjectMissing` when none has it.
        """
        assert digest_in_name(name), name
        problems: list[DrbackupError] = []
        for store in self.stores:
            try:
                data = store.get(name)
                require_match(name, data)  # whatever the store promises: this is about to be believed elsewhere
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
