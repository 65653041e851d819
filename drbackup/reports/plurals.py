"""Numbers with their noun in the reader's language, like ``1 point`` and ``2 points``. Sentences are made elsewhere."""

from __future__ import annotations

from drbackup.reports.gettext import ngettext


def points(n: int) -> str:
    """The number ``n`` of recovery points, as text."""
    return ngettext("{n} point", "{n} points", n).format(n=n)


def packs(n: int) -> str:
    """The number ``n`` of packs, as text."""
    return ngettext("{n} pack", "{n} packs", n).format(n=n)


def objects(n: int) -> str:
    """The number ``n`` of objects of a store, of any kind, as text."""
    return ngettext("{n} object", "{n} objects", n).format(n=n)


def records(n: int) -> str:
    """The number ``n`` of recovery points' records, as text."""
    return ngettext("{n} record", "{n} records", n).format(n=n)


def entries(n: int) -> str:
    """The number ``n`` of entries of a tree (files, folders, links, tables), as text."""
    return ngettext("{n} entry", "{n} entries", n).format(n=n)


def files(n: int) -> str:
    """The number ``n`` of files, as text."""
    return ngettext("{n} file", "{n} files", n).format(n=n)


def chunks(n: int) -> str:
    """The number ``n`` of chunks, as text."""
    return ngettext("{n} chunk", "{n} chunks", n).format(n=n)


def checks(n: int) -> str:
    """The number ``n`` of checks of an installation or an agent, as text."""
    return ngettext("{n} check", "{n} checks", n).format(n=n)


def systems(n: int) -> str:
    """The number ``n`` of systems, as text."""
    return ngettext("{n} system", "{n} systems", n).format(n=n)


def drills(n: int) -> str:
    """The number ``n`` of drills, as text."""
    return ngettext("{n} drill", "{n} drills", n).format(n=n)


def pieces(n: int) -> str:
    """The number ``n`` of pieces of evidence, as text."""
    return ngettext("{n} piece", "{n} pieces", n).format(n=n)


def shares(n: int) -> str:
    """The number ``n`` of shares of the recovery key, as text."""
    return ngettext("{n} share", "{n} shares", n).format(n=n)
