"""What a kind of store says of itself (the list: :mod:`drbackup.stores.registry`)."""

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
    """One kind of store: everything that is opened by an inventory's entry. Nothing is asked of a store by opening it.

    Each function loads what it needs when it is called: a command that opens one kind does not pay for another's.
    """

    name: str  # as the inventory names it; the stores of this kind carry it as ``kind``
    open: Callable[[str, StoreEntry], Store]  # may raise StoreRefused: no credential
    # What takes objects away, by a credential of its own. Raises StoreRefused when there is none.
    open_eraser: Callable[[str, StoreEntry], Eraser]
    open_locker: Callable[[str, StoreEntry], Locker | None]  # None: this entry locks nothing
    # What only this kind can be put to, of one of its stores, writing below a name: locks and signed uploads at least.
    trials: Callable[[Any, str, datetime], Iterator[Trial]]
