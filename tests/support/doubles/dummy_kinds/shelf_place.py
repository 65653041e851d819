"""A shelf as a store in the inventory: a folder of flat files, of which nobody knew when the product was written."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from drbackup.model.stores.base import StorePlace
from drbackup.model.strict import AbsolutePath
from drbackup.model.words import Words


class ShelfPlace(StorePlace):
    """A shelf of boxes, each with its whole name on it."""

    kind: ClassVar[str] = "shelf"
    readers: ClassVar[int] = 2

    board: AbsolutePath = Field(description="Absolute path of the shelf.")

    def address(self, prefix: str) -> Words:
        return Words(f"书架 {self.board}/{prefix}", f"shelf {self.board}/{prefix}")

    def fetch_line(self, prefix: str) -> str:
        return f"carry {self.board} {prefix} store"
