"""Renewing object locks: what must stay is locked anew before its lock ends. A lock only ever gets longer.

This is no part of :class:`~drbackup.stores.base.Store`, because a locked object takes room until its lock ends. Whoever
could lock freely could fill a store for years.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol, runtime_checkable


@runtime_checkable
class Locker(Protocol):
    """The right to lock objects of one store, for at most ``lock_days`` from now. Thread-safe."""

    name: str

    @property
    def lock_days(self) -> int:
        """Days for which this store locks an object."""
        ...

    def lock(self, name: str, until: datetime) -> datetime:
        """The instant (aware UTC) until which ``name`` is locked now: at least ``until``, never earlier than before.

        What is locked is what a whole read of ``name`` gives. Raises ObjectMissing, StoreUnavailable. Raises
        StoreRefused for a bucket without Object Lock, or a credential without the right.
        """
        ...
