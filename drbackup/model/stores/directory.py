"""A folder as a store in the inventory."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from drbackup.model.stores.base import StorePlace
from drbackup.model.strict import AbsolutePath
from drbackup.model.words import Words


class DirectoryPlace(StorePlace):
    """A folder on a disk of the backup centre, with the same create-once rules as a bucket."""

    kind: ClassVar[str] = "directory"
    may_be_unmounted: ClassVar[bool] = True
    readers: ClassVar[int] = 3

    path: AbsolutePath = Field(description="Absolute path of the folder.")

    def address(self, prefix: str) -> Words:
        return Words(f"目录 {self.path}/{prefix}", f"folder {self.path}/{prefix}")

    def fetch_line(self, prefix: str) -> str:
        return f"cp -r {self.path}/{prefix} store"
