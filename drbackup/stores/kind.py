"""What one kind of store consists of. The list of kinds is :mod:`drbackup.stores.registry`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from drbackup.stores.base import Store
from drbackup.stores.erase import Eraser
from drbackup.stores.lock import Locker
from drbackup.stores.trial import Trial

if TYPE_CHECKING:
    from drbackup.model.inventory import StoreEntry


class StoreKind(msgspec.Struct, frozen=True):
    """One kind of store: everything that is opened by an inventory's entry. Opening sends nothing to the store.

    Each function imports what it needs when it is called. So a command that opens one kind does not load another's
    libraries.
    """

    name: str  # as the inventory names it; the stores of this kind have it as ``kind``
    open: Callable[[str, StoreEntry], Store]  # raises StoreRefused without a credential
    # Erases objects, by a credential of its own. Raises StoreRefused without one.
    open_eraser: Callable[[str, StoreEntry], Eraser]
    open_locker: Callable[[str, StoreEntry], Locker | None]  # None: this entry locks nothing
    # (store, name to write below, now) → the trials for this kind alone: locks and signed uploads at least.
    trials: Callable[[Any, str, datetime], Iterator[Trial]]
