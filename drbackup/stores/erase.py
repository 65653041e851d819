"""The one capability a store does not have: to take objects away. Opened for collecting alone, with its own credential.

No name is erased that the caller did not judge; a lock always wins over any caller. An eraser knows nothing of vaults.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol, runtime_checkable

import msgspec

CREDENTIAL_HINT = (
    "name collect_credentials_file in inventory.yaml: "
    "a key pair of its own that may list versions, delete them and read their locks"
)


class Erased(msgspec.Struct, frozen=True):
    """What became of one name. ``gone``: nothing is left of it, or nothing was there. Else it stays, whole, because
    a lock holds until ``locked_until``; None: a legal hold, or a lock that tells no end."""

    name: str
    gone: bool
    locked_until: datetime | None = None


@runtime_checkable
class Eraser(Protocol):
    """Takes objects of one store away.

    Obligations, held by ``tests/contract/test_erasers.py``: :meth:`erase` returns with ``gone`` only when the object,
    every version and delete marker of exactly this name, is durably gone; again with the same name succeeds. A lock is
    an answer, not an error. Raises StoreUnavailable, StoreRefused (no right to delete): then the object may be there or
    not, never in part. Thread-safe.
    """

    name: str

    def erase(self, name: str) -> Erased: ...
