"""The count of a database's rows in a policy's drill."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from drbackup.errors import Said, say
from drbackup.model.checks.base import CheckForm
from drbackup.model.sources.base import SourceSettings
from drbackup.model.strict import Name
from drbackup.model.words import Words


class CountsCheck(CheckForm):
    """Every table's rows and digest."""

    kind: ClassVar[str] = "counts"
    words: ClassVar[Words] = Words("行数与摘要", "rows and digests")

    source: Name = Field(description="The source it looks at.")
    counts: Literal["match"] = Field(description="Rows and checksums as at the pinned instant.")

    def misfit(self, position: int, source: SourceSettings) -> Said:
        del position
        return say("") if source.is_database else say("counts: match counts rows; for files use files: match")
