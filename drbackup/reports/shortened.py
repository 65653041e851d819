"""What stands for the rest of a list that a screen or a line has no room for: how many more, and how to see them."""

from __future__ import annotations

from collections.abc import Sequence

from drbackup.errors import Said, say, say_all
from drbackup.reports.gettext import _

FEW = 5  # things that one line names


def rest(count: int, command: str = "--json") -> str:
    """The end of a list that ``command`` shows whole."""
    return _("… and {n} more ({command} shows all)").format(n=count, command=command)


def rest_by_limit(count: int) -> str:
    """The end of a list whose length ``--limit`` sets."""
    return _("… and {n} more: --limit N shows more, --json all").format(n=count)


def few(words: Sequence[str], separator: str = "; ", command: str = "--json") -> Said:
    """The first of ``words`` in one line, and how many more there are that ``command`` shows."""
    first = say_all(words[:FEW], separator)
    if len(words) <= FEW:
        return first
    more = say("… and {n} more ({command} shows all)", n=len(words) - FEW, command=command)
    return say("{first} {more}", first=first, more=more)
