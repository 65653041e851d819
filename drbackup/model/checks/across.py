"""The references from a database to files in a policy's drill."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from drbackup.errors import Said, say
from drbackup.model.checks.base import CheckForm
from drbackup.model.sources.base import SourceSettings
from drbackup.model.strict import Name, NonEmpty
from drbackup.model.words import Words


class AcrossCheck(CheckForm):
    """Every path that a query of one source names is a file of another."""

    kind: ClassVar[str] = "across"
    words: ClassVar[Words] = Words("跨源引用", "references across sources")
    source_keys: ClassVar[tuple[str, ...]] = ("across",)

    across: tuple[Name, Name] = Field(description="[database source, files source]")
    sql: NonEmpty = Field(description="A query on the restored database.")
    each: Literal["exists_in_files"] = Field(description="Each row's path must be restored.")

    @property
    def query(self) -> str:
        return self.sql

    def misfit(self, position: int, source: SourceSettings) -> Said:
        if position:
            return say("") if source.trees() else say("the second name of across must be a files source")
        return say("") if source.is_database else say("only a database can be asked by sql")
