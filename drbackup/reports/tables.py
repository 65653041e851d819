"""Lists that a person reads: points, what is in one, what changed between two, and drills.

Pure: it makes rich tables and ``--json`` documents from values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from drbackup.controller.catalog.drills import NEGATIVE_DRILL, Drill
from drbackup.model.point import Point
from drbackup.reports import plurals
from drbackup.reports.figures import age, iso, local, size, span
from drbackup.reports.gettext import _
from drbackup.reports.layout import foldable, widest
from drbackup.reports.status import RUNG_STYLES, rung_word
from drbackup.system.console import one_line
from drbackup.system.instants import from_ns
from drbackup.vault.tree import Entry, EntryKind

VERDICT_STYLES = {"passed": "green", "conditional": "yellow", "failed": "bold red", "not-run": "bold red"}
WIDE = 110  # columns of a screen from which on a list shows everything
_LETTERS = "-dlhpcbs"  # file, directory, symlink, hard link, fifo, character, block device, socket


class View(msgspec.Struct, frozen=True):
    """The reader's instant, zone and screen, for which a list is drawn."""

    now: datetime
    zone: tzinfo
    width: int = 2000  # columns of the screen

    @property
    def wide(self) -> bool:
        """Whether there is room for everything; otherwise a list leaves out what ``show`` and ``--json`` still show."""
        return self.width >= WIDE


def plain_table(*titles: str) -> Table:
    """An empty table in the style of all lists: no lines, bold heads, one column for each title."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold dim")
    for title in titles:
        table.add_column(title, no_wrap=True)
    return table


def right(table: Table, *columns: int) -> Table:
    """``table`` itself, with these columns (from 0) aligned to the right."""
    for column in columns:
        table.columns[column].justify = "right"
    return table


# --- points ---------------------------------------------------------------------------------------------------------


Damaged = Mapping[str, frozenset[str]]  # point → stores in which its copy is known to be damaged
_SOUND: Damaged = {}


def points_table(points: Iterable[Point], view: View, damaged: Damaged = _SOUND) -> Table:
    """A table with one row for each point, in the given order.

    A point that is damaged in all its copies shows that in place of its rung.
    """
    rows = [(point, damaged.get(point.id, frozenset())) for point in points]
    return widest(view.width, _points(rows, view, wide=True), _points(rows, view, wide=False))


def _points(rows: Iterable[tuple[Point, frozenset[str]]], view: View, *, wide: bool) -> Table:
    if wide:
        titles = (_("Point"), _("Source"), _("Instant"), _("Age"), _("Proven"), _("Size"), _("Added"), _("Copies"))
        table = right(plain_table(*titles), 5, 6)
    else:
        table = right(plain_table(_("Point"), _("Source"), _("Age"), _("Proven"), _("Size")), 4)
    for point, hurt in rows:
        proven = Text(rung_word(point.rung), style=RUNG_STYLES[point.rung])
        if hurt and hurt.issuperset(point.copies):
            proven = Text(_("damaged"), style="bold red")
        if point.held:
            proven.append(" ⚓")
        name, gone = Text(point.short, style="bold"), age(point.pinned_at, view.now)
        place, whole = str(point.source_name), size(point.totals.bytes)
        if wide:
            word = _("damaged")
            stores = [f"{store} ({word})" if store in hurt else store for store in point.copies]
            copies = ", ".join(stores) + (f"  ⚓ {point.held}" if point.held else "")
            instant = local(point.pinned_at, view.zone)
            table.add_row(name, place, instant, gone, proven, whole, size(point.totals.stored_bytes), copies)
        else:
            table.add_row(name, place, gone, proven, whole)
    return table


def point_document(point: Point) -> dict[str, Any]:
    """One point for ``--json``. Sizes in bytes."""
    totals = point.totals
    return {
        "id": point.id,
        "system": point.system,
        "source": point.source,
        "domain": point.domain,
        "kind": point.kind,
        "pinned_at": iso(point.pinned_at),
        "committed_at": iso(point.committed_at),
        "rung": point.rung.label,
        "rung_at": iso(point.rung_at) if point.rung_at else None,
        "group": point.group,
        "held": point.held,
        "copies": list(point.copies),
        "record": point.name,
        "entries": totals.entries,
        "files": totals.files,
        "rows": totals.rows,
        "bytes": totals.bytes,
        "new_bytes": totals.new_bytes,
        "stored_bytes": totals.stored_bytes,
    }


def facts_table(facts: Iterable[tuple[str, str]]) -> Table:
    """A table of names and values, one pair on each line."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, value)
    return table


class CopyFacts(msgspec.Struct, frozen=True):
    """One copy of a point, as far as reading back proved it."""

    store: str
    read_at: datetime | None  # since when all of it has been read back whole; None: not all of it was
    damaged: bool  # known to be

    def words(self, now: datetime) -> str:
        """The copy in words, ``offsite (read back 3 h ago)``. The rung is the point's, what was read is the copy's."""
        if self.damaged:
            told = _("damaged")
        elif self.read_at is None:
            told = _("not all of it read back yet")
        else:
            told = _("read back {age}").format(age=age(self.read_at, now))
        return f"{self.store} ({told})"


def copy_documents(copies: Sequence[CopyFacts]) -> list[dict[str, Any]]:
    """The copies of a point for ``--json``."""
    return [
        {"store": each.store, "read_at": iso(each.read_at) if each.read_at else None, "damaged": each.damaged}
        for each in copies
    ]


def point_facts(point: Point, view: View, copies: Sequence[CopyFacts]) -> list[tuple[str, str]]:
    """Everything about one point, as (name, value) in the reader's language."""
    totals = point.totals
    return [
        (_("Point"), point.id),
        (_("Source"), f"{point.source_name} ({point.kind})"),
        (_("Instant"), f"{local(point.pinned_at, view.zone)}, {age(point.pinned_at, view.now)}"),
        (_("Committed"), local(point.committed_at, view.zone)),
        (_("Proven"), rung_word(point.rung) + (f", {age(point.rung_at, view.now)}" if point.rung_at else "")),
        (_("Copies"), ", ".join(each.words(view.now) for each in copies) or "-"),
        (_("Held"), point.held or "-"),
        (_("Entries"), f"{plurals.entries(totals.entries)}, {plurals.files(totals.files)}"),
        (_("Rows"), str(totals.rows) if totals.rows > 0 else "-"),
        (_("Size"), size(totals.bytes)),
        (_("New"), f"{size(totals.new_bytes)} → {size(totals.stored_bytes)}"),
        (_("Domain"), point.domain),
        (_("Record"), point.name),
    ]


# --- what is inside ---------------------------------------------------------------------------------------------------


def path_text(path: bytes) -> str:
    """A stored path as text for a document; bytes that are no UTF-8 become ``\\xNN``. For a screen use ``one_line``."""
    return path.decode("utf-8", errors="backslashreplace")


def entries_table(entries: Iterable[Entry], zone: tzinfo) -> Table:
    """A table of entries like ``ls -l``: mode, owner, size or rows, time, path."""
    table = right(plain_table(_("Mode"), _("Owner"), _("Size"), _("Rows"), _("Changed"), _("Path")), 2, 3)
    foldable(table, 5)
    for entry in entries:
        path = Text(one_line(entry.path))
        if entry.target:
            path.append(f" -> {one_line(entry.target)}", style="dim")
        changed = from_ns(entry.mtime_ns).astimezone(zone)
        table.add_row(
            mode_text(entry),
            Text(one_line(f"{entry.user or entry.uid}:{entry.group or entry.gid}")),
            size(entry.size) if entry.kind is EntryKind.FILE else "",
            str(entry.rows) if entry.rows >= 0 else "",
            local(changed, zone) if entry.mtime_ns else "",
            path,
        )
    return table


def mode_text(entry: Entry) -> str:
    """The entry's mode with its kind in front: ``-rw-r--r--``."""
    letters = list("rwxrwxrwx")
    for bit, _letter in enumerate(letters):
        if not entry.mode & (0o400 >> bit):
            letters[bit] = "-"
    return _LETTERS[list(EntryKind).index(entry.kind)] + "".join(letters)


def entry_document(entry: Entry) -> dict[str, Any]:
    """One entry for ``--json``. Size in bytes, mode in octal, time in ns since 1970."""
    return {
        "path": path_text(entry.path),
        "kind": entry.kind.name.lower(),
        "mode": f"{entry.mode:04o}",
        "user": entry.user,
        "group": entry.group,
        "size": entry.size,
        "rows": entry.rows if entry.rows >= 0 else None,
        "mtime_ns": entry.mtime_ns,
        "digest": entry.digest.hex(),
        "target": path_text(entry.target),
    }


# --- what changed -----------------------------------------------------------------------------------------------------


class Change(msgspec.Struct, frozen=True):
    """One difference between two points."""

    path: bytes
    how: str  # added, removed, content or attributes
    before: int = -1  # size in bytes; -1: not there
    after: int = -1  # size in bytes; -1: not there


def changes(before: Iterable[Entry], after: Iterable[Entry]) -> list[Change]:
    """Every difference between the entries of two points, in path order. ``before`` is held in memory."""
    was = {entry.path: entry for entry in before}
    found: list[Change] = []
    for entry in after:
        old = was.pop(entry.path, None)
        if old is None:
            found.append(Change(entry.path, "added", after=entry.size))
        elif (old.kind, old.digest, old.size, old.target) != (entry.kind, entry.digest, entry.size, entry.target):
            found.append(Change(entry.path, "content", old.size, entry.size))
        elif _attributes(old) != _attributes(entry):
            found.append(Change(entry.path, "attributes", old.size, entry.size))
    found.extend(Change(path, "removed", before=old.size) for path, old in was.items())
    return sorted(found, key=lambda change: change.path.split(b"/"))


def _attributes(entry: Entry) -> tuple[object, ...]:
    return entry.mode, entry.uid, entry.gid, entry.mtime_ns, entry.xattrs


def changes_table(found: Sequence[Change]) -> Table:
    """A table with one row for each change: a sign, the sizes before and after, the path."""
    signs = {
        "added": ("+", "green"),
        "removed": ("-", "red"),
        "content": ("~", "yellow"),
        "attributes": ("=", "dim"),
    }
    table = right(plain_table("", _("Before"), _("After"), _("Path")), 1, 2)
    foldable(table, 3)
    for change in found:
        sign, style = signs[change.how]
        sizes = [size(count) if count >= 0 else "" for count in (change.before, change.after)]
        table.add_row(Text(sign, style=style), *sizes, Text(one_line(change.path), style=style))
    return table


# --- drills -----------------------------------------------------------------------------------------------------------


def verdict_word(verdict: str) -> str:
    """A drill's verdict in the reader's language; empty reads "under way"."""
    words = {
        "passed": _("passed"),
        "conditional": _("conditional"),
        "failed": _("failed"),
        "not-run": _("not run"),
        "": _("under way"),
    }
    return words.get(verdict, verdict)


def drills_table(drills: Iterable[Drill], view: View) -> Table:
    """A table with one row for each drill; a negative one is marked ``(-)``."""
    rows = list(drills)
    return widest(view.width, _drills(rows, view, wide=True), _drills(rows, view, wide=False))


def _drills(drills: Iterable[Drill], view: View, *, wide: bool) -> Table:
    figures = ("RTO", "RPO", _("Host"))
    if wide:
        table = plain_table(_("Verdict"), _("System"), _("Started"), _("Age"), *figures, _("Drill"))
    else:
        table = plain_table(_("Verdict"), _("System"), _("Age"), *figures)
    for drill in drills:
        verdict = Text(verdict_word(drill.verdict), style=VERDICT_STYLES.get(drill.verdict, "cyan"))
        if drill.kind == NEGATIVE_DRILL:
            verdict.append(" (-)", style="dim")
        measured = (_seconds(drill.rto_seconds), _seconds(drill.rpo_seconds), drill.host)
        gone = age(drill.started_at, view.now)
        if wide:
            started = local(drill.started_at, view.zone)
            table.add_row(verdict, drill.system, started, gone, *measured, Text(drill.id, style="bold"))
        else:
            table.add_row(verdict, drill.system, gone, *measured)
    return table


def drill_facts(drill: Drill, view: View) -> list[tuple[str, str]]:
    """Everything that the catalog knows of one drill, as (name, value) in the reader's language."""
    return [
        (_("Drill"), drill.id),
        (_("System"), drill.system),
        (_("Kind"), _("negative drill: it must find a flipped byte") if drill.kind == NEGATIVE_DRILL else _("drill")),
        (_("Verdict"), verdict_word(drill.verdict)),
        (_("Started"), f"{local(drill.started_at, view.zone)}, {age(drill.started_at, view.now)}"),
        ("RTO", _seconds(drill.rto_seconds)),
        ("RPO", _seconds(drill.rpo_seconds)),
        (_("Host"), drill.host),
        (_("Points"), ", ".join(point[:12] for point in drill.points)),
        (_("Findings"), "\n".join(drill.findings) or "-"),
    ]


def _seconds(value: float | None) -> str:
    return "-" if value is None else span(timedelta(seconds=round(value, 1)))


def drill_document(drill: Drill) -> dict[str, Any]:
    """One drill for ``--json``. Durations in seconds, instants in UTC."""
    return {
        "id": drill.id,
        "system": drill.system,
        "kind": drill.kind,
        "planned_at": iso(drill.planned_at),
        "started_at": iso(drill.started_at),
        "ended_at": iso(drill.ended_at) if drill.ended_at else None,
        "verdict": drill.verdict,
        "host": drill.host,
        "points": list(drill.points),
        "evidence": drill.evidence,
        "rto_seconds": drill.rto_seconds,
        "rpo_seconds": drill.rpo_seconds,
        "findings": list(drill.findings),
    }
