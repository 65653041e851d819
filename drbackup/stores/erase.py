"""Erasing objects. A store has no method for it, on purpose: only collect opens an eraser, with its own credential.

An eraser erases only the names that its caller gives. An object lock always wins over the caller. An eraser knows
nothing of vaults.
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
    """What became of one name: it is gone, or it stays whole because of a lock."""

    name: str
    gone: bool  # nothing is left of it, or nothing was there
    locked_until: datetime | None = None  # aware UTC, while it stays; None: a legal hold, or a lock that tells no end


@runtime_checkable
class Eraser(Protocol):
    """The right to erase objects of one store. Thread-safe.

    Obligations of every implementation, held by ``tests/contract/test_erasers.py``:

    * :meth:`erase` returns with ``gone`` only when every version and delete marker of exactly this name is durably
      gone. The same name again succeeds.
    * A lock is an answer, not an error.
    * After StoreUnavailable or StoreRefused the object is there or not, never in part.
    """

    name: str

    def erase(self, name: str) -> Erased:
        """What became of ``name``. Raises StoreUnavailable, and StoreRefused without the right to delete."""
        ...
