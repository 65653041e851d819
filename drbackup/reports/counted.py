"""Things with their number, in the reader's language: ``1 point``, ``2 points``. Sentences are made elsewhere."""

from __future__ import annotations

from drbackup.reports.words import ngettext


def points(n: int) -> str:
    """Recovery points."""
    return ngettext("{n} point", "{n} points", n).format(n=n)


def packs(n: int) -> str:
    """Packs."""
    return ngettext("{n} pack", "{n} packs", n).format(n=n)


def objects(n: int) -> str:
    """Objects of a store, of whatever kind."""
    return ngettext("{n} object", "{n} objects", n).format(n=n)
