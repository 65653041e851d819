"""Making locks last: what must stay is locked anew before its lock runs out. Locks only ever grow.

Apart from :class:`~drbackup.stores.base.Store` because a lock costs room until it ends: whoever could lock freely could
fill a store for years.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol, runtime_checkable


@runtime_checkable
class Locker(Protocol):
    """Locks objects of one store, for ``lock_days`` from now at most. Thread-safe."""

    name: str

    @property
    def lock_days(self) -> int: ...

    def lock(self, name: str, until: datetime) -> datetime:
        """Lock what a whole read of ``name`` gives at least ``until``; until when it is locked now. Never shortens.

        Raises ObjectMissing, StoreUnavailable, StoreRefused for a bucket without Object Lock or a credential without
        the right.
        """
        ...
