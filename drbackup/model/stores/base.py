"""What the controller and the reports ask of a store's place, whatever its kind."""

from __future__ import annotations

import abc
from typing import ClassVar

from drbackup.model.strict import Kind
from drbackup.model.words import Words


class StorePlace(Kind, abc.ABC):
    """One kind of store, with its settings in the inventory. A kind that can lock has the setting ``lock_days``."""

    can_lock: ClassVar[bool] = False
    may_be_unmounted: ClassVar[bool] = False  # it can look like an empty store while its disk is not mounted
    readers: ClassVar[int]  # how many large reads at the same time it serves well

    @abc.abstractmethod
    def address(self, prefix: str) -> Words:
        """The place of the vault below ``prefix``, for the sheet with which people recover without drbackup."""

    @abc.abstractmethod
    def fetch_line(self, prefix: str) -> str:
        """The command that copies the vault below ``prefix`` to a folder named ``store``, without drbackup."""

    @property
    def locked_days(self) -> int:
        """Days for which an object stays locked; 0: nothing is locked."""
        return 0

    @property
    def trusted_ca(self) -> str:
        """A file of certificates to trust for its signed URLs; empty: the host's own, or it signs no URLs."""
        return ""
