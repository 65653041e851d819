"""Things with their number, in the reader's language: ``1 point``, ``2 points``. Sentences are made elsewhere."""

from __future__ import annotations

from drbackup.reports.gettext import ngettext


def points(n: int) -> str:
    """Recovery points."""
    return ngettext("{n} point", "{n} points", n).format(n=n)


def packs(n: int) -> str:
    """Packs."""
    return ngettext("{n} pack", "{n} packs", n).format(n=n)


def objects(n: int) -> str:
    """Objects of a store, of whatever kind."""
    return ngettext("{n} object", "{n} objects", n).format(n=n)


def records(n: int) -> str:
    """Recovery points' records."""
    return ngettext("{n} record", "{n} records", n).format(n=n)


def entries(n: int) -> str:
    """Entries of a tree: files, folders, links, tables."""
    return ngettext("{n} entry", "{n} entries", n).format(n=n)


def files(n: int) -> str:
    """Files."""
    return ngettext("{n} file", "{n} files", n).format(n=n)


def chunks(n: int) -> str:
    """Chunks of content."""
    return ngettext("{n} chunk", "{n} chunks", n).format(n=n)


def checks(n: int) -> str:
    """Checks of an installation or an agent."""
    return ngettext("{n} check", "{n} checks", n).format(n=n)


def systems(n: int) -> str:
    """Systems with a policy."""
    return ngettext("{n} system", "{n} systems", n).format(n=n)


def drills(n: int) -> str:
    """Drills."""
    return ngettext("{n} drill", "{n} drills", n).format(n=n)


def pieces(n: int) -> str:
    """Pieces of evidence."""
    return ngettext("{n} piece", "{n} pieces", n).format(n=n)


def shares(n: int) -> str:
    """Shares of the recovery key."""
    return ngettext("{n} share", "{n} shares", n).format(n=n)
