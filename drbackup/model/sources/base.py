"""What the controller and the reports ask of a source, whatever its kind."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from typing import ClassVar, Self

from drbackup.errors import Said
from drbackup.model.strict import Kind
from drbackup.model.words import Words


class SourceSettings(Kind, abc.ABC):
    """One kind of source with what a policy says of it. The agent is sent its fields under their own names."""

    is_database: ClassVar[bool] = False  # it answers queries and its rows can be counted; else it comes back as files
    takes_canary: ClassVar[bool] = True  # the agent is told whether to write a time mark before each copy
    whole_check: ClassVar[str]  # the kind of check that compares a whole copy with its source
    host_facts: ClassVar[Mapping[str, Words]] = {}  # what the agent's half tells of a drill host, by its key

    @abc.abstractmethod
    def lives(self) -> str:
        """Where the data is on the agent's host, in a few words."""

    @abc.abstractmethod
    def by_hand(self, folder: str) -> Iterator[str]:
        """The command lines that put it back without drbackup, from a ``folder`` with all the files of a point."""

    def trees(self) -> tuple[str, ...]:
        """Absolute paths of the directory trees it copies; empty: it copies none."""
        return ()

    def at_database(self, name: str, path: str) -> Self | None:
        """The same source with another database: the one of this ``name``, or in the file at this absolute ``path``.

        None: it is no database, or can't be restored elsewhere.
        """
        del name, path
        return None

    def doubts(self, source: str) -> Iterator[tuple[Said, Said]]:
        """What is allowed, but should be known of the source of this name: (warning, way out)."""
        del source
        yield from ()
