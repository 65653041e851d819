"""Every kind of store, in one list, and what is opened by an inventory's entry.

A new kind needs a package beside this module, a line in :data:`STORE_KINDS`, and its model for the inventory.
``docs/stores.md`` says how to add one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from drbackup.errors import PolicyError, say
from drbackup.stores.base import Store
from drbackup.stores.erase import Eraser
from drbackup.stores.folder.kind import DIRECTORY
from drbackup.stores.kind import StoreKind
from drbackup.stores.lock import Locker
from drbackup.stores.s3.kind import S3
from drbackup.stores.trial import Trial

if TYPE_CHECKING:
    from drbackup.model.inventory import StoreEntry

STORE_KINDS: list[StoreKind] = [DIRECTORY, S3]


def open_store(name: str, entry: StoreEntry) -> Store:
    """The store that an inventory entry describes. Nothing is sent to it yet.

    Raises PolicyError for an entry of unknown kind, StoreRefused when a credential is missing.
    """
    return _kind(name, entry).open(name, entry)


def open_eraser(name: str, entry: StoreEntry) -> Eraser:
    """The eraser of the store that an inventory entry describes. Nothing is sent to it yet.

    Raises StoreRefused when the store has no credential for collect, PolicyError for an entry of unknown kind.
    """
    return _kind(name, entry).open_eraser(name, entry)


def open_locker(name: str, entry: StoreEntry) -> Locker | None:
    """The locker of the store that an inventory entry describes; None for a store that locks nothing.

    Raises PolicyError for an entry of unknown kind, StoreRefused when a credential is missing.
    """
    return _kind(name, entry).open_locker(name, entry)


def own_trials(store: Store, place: str, when: datetime) -> Iterator[Trial]:
    """The trials for this store's kind alone; none for a store that only wraps another."""
    named = getattr(store, "kind", "")
    for kind in STORE_KINDS:
        if kind.name == named:
            yield from kind.trials(store, place, when)


def _kind(name: str, entry: StoreEntry) -> StoreKind:
    for kind in STORE_KINDS:
        if kind.name == entry.place.kind:
            return kind
    raise PolicyError(
        say("store {name} is of kind {kind}, which nothing here can open", name=name, kind=entry.place.kind)
    )
