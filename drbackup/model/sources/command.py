"""Any program's output in a policy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field, field_validator

from drbackup.errors import Said, say
from drbackup.model.sources.base import SourceSettings
from drbackup.model.strict import NonEmpty


class CommandPolicy(SourceSettings):
    """Any program's stdout, and the program that takes it back on stdin. Argument lists, never a shell line."""

    kind: ClassVar[str] = "command"
    takes_canary: ClassVar[bool] = False
    whole_check: ClassVar[str] = "files"

    backup: tuple[NonEmpty, ...] = Field(min_length=1, description="Program and arguments; stdout is the copy.")
    restore: tuple[NonEmpty, ...] = Field(default=(), description="Program that reads the copy on stdin.")
    environment_file: str = Field(default="", description="KEY=value lines on the agent's host, for secrets.")
    name: NonEmpty = Field(default="stdout", description="File name of the output inside the recovery point.")

    @field_validator("backup", "restore", mode="before")
    @classmethod
    def _not_a_line(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(
                say("{value} is one line: write a list of program and arguments, no shell is used", value=repr(value))
            )
        return value

    def lives(self) -> str:
        return " ".join(self.backup)

    def by_hand(self, folder: str) -> Iterator[str]:
        if self.restore:
            yield f"{' '.join(self.restore)} < {folder}/{self.name}"

    def doubts(self, source: str) -> Iterator[tuple[Said, Said]]:
        if not self.restore:
            yield (
                say("'{source}' has no restore program: its copy can only be restored as a plain file", source=source),
                say("add restore: [program, argument, …], which reads the copy on stdin"),
            )
