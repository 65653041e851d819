"""A notebook in a policy: one text file, of which nobody knew when the product was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from pydantic import Field

from drbackup.model.sources.base import SourceSettings
from drbackup.model.strict import AbsolutePath
from drbackup.model.words import Words


class NotebookPolicy(SourceSettings):
    """One text file, line by line."""

    kind: ClassVar[str] = "notebook"
    is_database: ClassVar[bool] = True
    takes_canary: ClassVar[bool] = False
    whole_check: ClassVar[str] = "counts"
    host_facts: ClassVar[Mapping[str, Words]] = {"paper": Words("纸张", "paper of the notebook")}

    page: AbsolutePath = Field(description="Absolute path of the text file.")

    def lives(self) -> str:
        return f"notebook {self.page}"

    def by_hand(self, folder: str) -> Iterator[str]:
        yield f"cat {folder}/lines > {self.page}"

    def doubts(self, source: str) -> Iterator[tuple[str, str]]:
        yield f"'{source}' is a notebook", "use a database"
