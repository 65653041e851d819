"""What the controller and the reports ask of a check, whatever its kind."""

from __future__ import annotations

import abc
from typing import ClassVar

from drbackup.errors import Said
from drbackup.model.sources.base import SourceSettings
from drbackup.model.strict import Kind
from drbackup.model.verdict import Expectation
from drbackup.model.words import Words


class CheckForm(Kind, abc.ABC):
    """One kind of check: the keys that a policy gives together, every one of them required.

    No two kinds have the same keys. A key that several kinds share means the same in all of them.
    """

    words: ClassVar[Words]  # what the drill's page calls it
    source_keys: ClassVar[tuple[str, ...]] = ("source",)  # the keys whose values name sources: one, or a list

    @property
    def named(self) -> tuple[tuple[tuple[str | int, ...], str], ...]:
        """(path inside the check, name) of each source that it looks at. The query is for the first one."""
        found: list[tuple[tuple[str | int, ...], str]] = []
        for key in self.source_keys:
            value: str | tuple[str, ...] = getattr(self, key)
            if isinstance(value, str):
                found.append(((key,), value))
            else:
                found += [((key, number), name) for number, name in enumerate(value)]
        return tuple(found)

    @property
    def query(self) -> str:
        """What the check's code on the agent gets besides the sources: a query, a pattern, a name."""
        return ""

    @abc.abstractmethod
    def misfit(self, position: int, source: SourceSettings) -> Said:
        """The reason why a source can't stand at this position of :attr:`named`; empty: it can."""

    def expectation(self) -> Expectation:
        """What the measured figures are compared with: those of the pinned instant, unless a kind says otherwise."""
        return Expectation(match=True)
