"""What the controller and the reports ask of a source, whatever its kind."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from typing import ClassVar, Self

from drbackup.errors import Said
from drbackup.model.strict import Kind
from drbackup.model.words import Words


class SourceSettings(Kind, abc.ABC):
    """One kind of source, with its settings in a policy. The agent gets the fields under their own names."""

    is_database: ClassVar[bool] = False  # it answers queries and its rows can be counted; else it is restored as files
    takes_canary: ClassVar[bool] = True  # the agent is told whether to write a time mark before each copy
    whole_check: ClassVar[str]  # the kind of check that compares a whole copy with its source
    host_facts: ClassVar[Mapping[str, Words]] = {}  # key of what its code on the agent tells of a drill host → title

    @abc.abstractmethod
    def lives(self) -> str:
        """The place of the data on the agent's host, in a few words."""

    @abc.abstractmethod
    def by_hand(self, folder: str) -> Iterator[str]:
        """The command lines that restore it without drbackup, from a ``folder`` with all files of a point."""

    def trees(self) -> tuple[str, ...]:
        """The absolute paths of the directory trees that it backs up; empty: none."""
        return ()

    def at_database(self, name: str, path: str) -> Self | None:
        """The same source with another database: by ``name``, or in the file at the absolute ``path``.

        None: it is no database, or can't be restored elsewhere.
        """
        del name, path
        return None

    def doubts(self, source: str) -> Iterator[tuple[Said, Said]]:
        """What is allowed, but should be known of the source of this name: (warning, way out)."""
        del source
        yield from ()
