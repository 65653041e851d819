"""Making locks last: what must stay is locked anew before its lock runs out. Locks only ever grow.

Apart from :class:`~drbackup.stores.base.Store` because a lock costs room until it ends: whoever could lock freely could
fill a store for years.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from drbackup.model.inventory import StoreEntry


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


def open_locker(name: str, entry: StoreEntry) -> Locker | None:
    """The locker of a store that an inventory entry describes; None for a store that locks nothing."""
    if entry.s3 is None or not entry.lock_days:
        return None
    from drbackup.stores.locking_s3 import S3Locker
    from drbackup.stores.registry import s3_config

    return S3Locker(name, s3_config(entry, entry.s3.credentials_file))


def whole_seconds(until: datetime) -> datetime:
    """S3 keeps whole seconds; rounded down, so that nothing is said to be locked longer than it is."""
    return until.astimezone(UTC).replace(microsecond=0)
