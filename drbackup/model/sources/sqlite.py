"""A SQLite database in a policy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Self

from pydantic import Field

from drbackup.model.sources.base import SourceSettings
from drbackup.model.strict import AbsolutePath


class SqlitePolicy(SourceSettings):
    """One SQLite database file, copied by the online backup API."""

    kind: ClassVar[str] = "sqlite"
    is_database: ClassVar[bool] = True
    whole_check: ClassVar[str] = "counts"

    path: AbsolutePath = Field(description="Absolute path of the database file.")

    def lives(self) -> str:
        return self.path

    def by_hand(self, folder: str) -> Iterator[str]:
        yield f"cp {folder}/{self.path.rpartition('/')[2]} {self.path}"

    def at_database(self, name: str, path: str) -> Self | None:
        del name
        return self.model_copy(update={"path": path})
