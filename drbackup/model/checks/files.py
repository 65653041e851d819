"""The comparison of a tree with its copy in a policy's drill."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from drbackup.errors import Said, say
from drbackup.model.checks.base import CheckForm
from drbackup.model.sources.base import SourceSettings
from drbackup.model.strict import Name
from drbackup.model.words import Words


class FilesCheck(CheckForm):
    """Every entry of a tree, and nothing more. What comes back as one file is a tree, too."""

    kind: ClassVar[str] = "files"
    words: ClassVar[Words] = Words("文件摘要", "file digests")

    source: Name = Field(description="The source it looks at.")
    files: Literal["match"] = Field(description="Every file as at the pinned instant.")

    def misfit(self, position: int, source: SourceSettings) -> Said:
        del position
        return say("files: match compares trees; for a database use counts: match") if source.is_database else say("")
