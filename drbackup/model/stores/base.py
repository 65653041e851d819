"""What the controller and the reports ask of a store's place, whatever its kind."""

from __future__ import annotations

import abc
from typing import ClassVar

from drbackup.model.strict import Kind
from drbackup.model.words import Words


class StorePlace(Kind, abc.ABC):
    """One kind of store with what the inventory says of it. A kind that can lock says how long by ``lock_days``."""

    can_lock: ClassVar[bool] = False
    may_be_unmounted: ClassVar[bool] = False  # it can look like an empty store while its disk is away
    readers: ClassVar[int]  # large reads that it serves well at the same time

    @abc.abstractmethod
    def address(self, prefix: str) -> Words:
        """Where the vault below ``prefix`` lies, for the break-glass sheet."""

    @abc.abstractmethod
    def fetch_line(self, prefix: str) -> str:
        """The command that makes the vault below ``prefix`` a folder named ``store``, without drbackup."""

    @property
    def locked_days(self) -> int:
        """Days an object stays locked; 0: nothing is locked."""
        return 0

    @property
    def trusted_ca(self) -> str:
        """A file of certificates to trust at its signed URLs; empty: the host's own, or it signs none."""
        return ""
