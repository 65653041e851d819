"""Directory trees in a policy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from drbackup.model.quantities import YesNo
from drbackup.model.sources.base import SourceSettings
from drbackup.model.strict import AbsolutePath, NonEmpty


class FilesPolicy(SourceSettings):
    """Directory trees on the agent's host."""

    kind: ClassVar[str] = "files"
    whole_check: ClassVar[str] = "files"

    paths: tuple[AbsolutePath, ...] = Field(min_length=1, description="Absolute paths of the trees.")
    exclude: tuple[NonEmpty, ...] = Field(default=(), description="Globs, matched on the whole path or on a name.")
    one_filesystem: YesNo = Field(default=False, description="Do not cross into other mounted filesystems.")

    def lives(self) -> str:
        return ", ".join(self.paths)

    def by_hand(self, folder: str) -> Iterator[str]:
        for path in self.paths:
            yield f"cp -a {folder}{path}/. {path}/"

    def trees(self) -> tuple[str, ...]:
        return self.paths
