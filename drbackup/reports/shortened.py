"""The end of a list that is too long for a screen or a line: how many more there are, and how to see them."""

from __future__ import annotations

from collections.abc import Sequence

from drbackup.errors import Said, say, say_all
from drbackup.reports.gettext import _

FEW = 5  # texts in one line at most


def rest(count: int, command: str = "--json") -> str:
    """The end of a list with ``count`` more things; ``command`` shows them all."""
    return _("… and {n} more ({command} shows all)").format(n=count, command=command)


def rest_by_limit(count: int) -> str:
    """The end of a list with ``count`` more things, where ``--limit`` sets its length."""
    return _("… and {n} more: --limit N shows more, --json all").format(n=count)


def few(words: Sequence[str], separator: str = "; ", command: str = "--json") -> Said:
    """The first five of ``words`` in one line, then how many more there are; ``command`` shows them all."""
    first = say_all(words[:FEW], separator)
    if len(words) <= FEW:
        return first
    more = say("… and {n} more ({command} shows all)", n=len(words) - FEW, command=command)
    return say("{first} {more}", first=first, more=more)
