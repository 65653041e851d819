"""Every kind of store, in one list, and what is opened by an inventory's entry.

A new kind is its room beside this module, a line in :data:`STORE_KINDS`, and its model for the inventory
(``docs/stores.md``: to add a kind).
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
    """The store that an inventory entry describes. Nothing is asked of it yet.

    Raises PolicyError for an entry of no kind known here, StoreRefused when a credential is missing.
    """
    return _kind(name, entry).open(name, entry)


def open_eraser(name: str, entry: StoreEntry) -> Eraser:
    """The eraser of the store that an inventory entry describes. Nothing is asked of it yet.

    Raises StoreRefused when a store has no credential for collecting, PolicyError for an entry of no kind known here.
    """
    return _kind(name, entry).open_eraser(name, entry)


def open_locker(name: str, entry: StoreEntry) -> Locker | None:
    """The locker of a store that an inventory entry describes; None for a store that locks nothing."""
    return _kind(name, entry).open_locker(name, entry)


def own_trials(store: Store, place: str, when: datetime) -> Iterator[Trial]:
    """The trials that only a store of its kind can be put to; none for a store that only wraps another."""
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
