"""The status screen: one row for each source, and everything that needs a person at the bottom.

Pure: an :class:`~drbackup.reports.overview.Overview` becomes a rich table for people and a document for ``--json``.
"""

from __future__ import annotations

import enum
import math
from datetime import timedelta, tzinfo
from typing import Any

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from drbackup.model.objectives import DrillStanding, PromiseState
from drbackup.model.point import Point, Rung
from drbackup.reports.figures import age, iso, local, span
from drbackup.reports.gettext import _, ngettext
from drbackup.reports.layout import widest
from drbackup.reports.needs import NeedWords, need_document, words_of
from drbackup.reports.overview import Overview, SourceStatus, SystemStatus
from drbackup.reports.shortened import rest

_OTHER_LINES = 7  # head, table head, empty line, verdict, "needs", "and more", prompt
_PAPER = math.inf  # lines, where the output is no terminal
_LEAST_NEEDS = 4  # however small the terminal; --json has them all

RUNG_STYLES = {
    Rung.WRITTEN: "yellow",
    Rung.CHECKSUMMED: "yellow",
    Rung.DECRYPTED: "cyan",
    Rung.RESTORED: "cyan",
    Rung.APP_CHECKED: "green",
}
_PROMISE_STYLES = {
    PromiseState.OK: "green",
    PromiseState.AT_RISK: "yellow",
    PromiseState.BREACHED: "bold red",
    PromiseState.NO_POINT: "bold red",
}
_DRILL_STYLES = {
    DrillStanding.PROVEN: "green",
    DrillStanding.CONDITIONAL: "yellow",
    DrillStanding.FAILED: "bold red",
    DrillStanding.OVERDUE: "yellow",
    DrillStanding.NEVER: "yellow",
    DrillStanding.NONE: "dim",
}


def rung_word(rung: Rung) -> str:
    """The rung in the reader's language."""
    return {
        Rung.WRITTEN: _("written"),
        Rung.CHECKSUMMED: _("checksummed"),
        Rung.DECRYPTED: _("decrypted"),
        Rung.RESTORED: _("restored"),
        Rung.APP_CHECKED: _("app-checked"),
    }[rung]


def drill_word(standing: DrillStanding) -> str:
    """The state of a system's drills in the reader's language."""
    return {
        DrillStanding.PROVEN: _("passed"),
        DrillStanding.CONDITIONAL: _("conditional"),
        DrillStanding.FAILED: _("failed"),
        DrillStanding.OVERDUE: _("overdue"),
        DrillStanding.NEVER: _("never"),
        DrillStanding.NONE: _("none asked"),
    }[standing]


class Detail(enum.Enum):
    """The amount of detail in a row, from most to least."""

    TIMES = enum.auto()  # times beside ages
    TITLES = enum.auto()  # the systems' titles
    NAMES = enum.auto()  # names alone, cut where there is no room


def render(overview: Overview, zone: tzinfo, width: int, height: int) -> RenderableType:
    """The screen for a terminal of ``width`` columns and ``height`` lines; 0 lines: no limit."""
    rows = sum(len(system.sources) for system in overview.systems)
    room = max(height - rows - _OTHER_LINES, _LEAST_NEEDS) if height else _PAPER
    head = Text(overview.title, style="bold")
    head.append(f"  {local(overview.now, zone)} {overview.now.astimezone(zone).tzname() or ''}", style="dim")
    table = widest(width, *(_table(overview, zone, detail) for detail in Detail))
    return Group(head, table, _verdict(overview), *_needs(overview, room, width))


def _table(overview: Overview, zone: tzinfo, detail: Detail) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold dim", expand=False)
    named = detail is Detail.NAMES
    table.add_column(_("System"), max_width=21 if named else None)
    if not named:
        table.add_column(_("Title"))
    table.add_column(_("L"), justify="right", min_width=1)
    table.add_column(_("Source"), max_width=10 if named else None)
    # on a narrow screen only names give way, never a figure
    table.add_column(_("Newest") if named else _("Newest point"))
    table.add_column(_("Proven"), min_width=11)
    table.add_column("RPO" if named else _("RPO now / promise"), min_width=11)
    table.add_column(_("Drill") if named else _("Last drill"))
    for column in table.columns:
        column.no_wrap = True
    for system in overview.systems:
        for number, source in enumerate(system.sources):
            table.add_row(*_row(system, source, number == 0, (overview, zone, detail)))
    return table


def _row(system: SystemStatus, source: SourceStatus, first: bool, view: tuple[Overview, tzinfo, Detail]) -> list[Text]:
    """The cells of one source's row. ``first``: the system's own cells are filled in this row."""
    overview, zone, detail = view
    timed = detail is Detail.TIMES
    own = [Text(system.system), *([] if detail is Detail.NAMES else [Text(system.title)]), Text(str(system.level))]
    return [
        *(own if first else [Text("")] * len(own)),
        Text(source.name),
        _newest(source, overview, zone if timed else None),
        _rung(source.newest, overview, timed=timed),
        _rpo(source),
        _drill(system, overview, timed=timed) if first else Text(""),
    ]


def _newest(source: SourceStatus, overview: Overview, zone: tzinfo | None) -> Text:
    """The newest point's age, with its instant in ``zone`` (None: the age alone); or that a run is under way."""
    if source.running and source.run is not None:
        return Text(_("running: {phase}").format(phase=source.run.phase or source.run.state), style="cyan")
    if source.newest is None:
        return Text(_("none"), style="bold red")
    text = Text(age(source.newest.pinned_at, overview.now))
    if zone is not None:
        text.append(f"  {local(source.newest.pinned_at, zone)}", style="dim")
    return text


def _rung(point: Point | None, overview: Overview, *, timed: bool) -> Text:
    if point is None:
        return Text("-", style="dim")
    text = Text(rung_word(point.rung), style=RUNG_STYLES[point.rung])
    if timed and point.rung_at is not None:
        text.append(f"  {age(point.rung_at, overview.now)}", style="dim")
    return text


def _rpo(source: SourceStatus) -> Text:
    now = "∞" if source.rpo.actual is None else span(source.rpo.actual)
    return Text(f"{now} / {span(source.rpo.promised)}", style=_PROMISE_STYLES[source.rpo.state])


def _drill(system: SystemStatus, overview: Overview, *, timed: bool) -> Text:
    text = Text(drill_word(system.drilled), style=_DRILL_STYLES[system.drilled])
    if system.drill is not None and timed:
        text.append(f"  {age(system.drill.started_at, overview.now)}", style="dim")
    return text


def _verdict(overview: Overview) -> Text:
    bad = []
    if broken := len(overview.breached):
        bad.append(
            ngettext("{n} system breaks its promise", "{n} systems break their promise", broken).format(n=broken)
        )
    if unknown := len(overview.unknown):
        words = ngettext("{n} policy is broken", "{n} policies are broken", unknown)
        bad.append(words.format(n=unknown))
    if lost := overview.lost:
        words = ngettext("{n} point is whole in no copy", "{n} points are whole in no copy", lost)
        bad.append(words.format(n=lost))
    if bad:
        return Text("\n" + _("; ").join(bad), style="bold red")
    if overview.needs:
        return Text("\n" + _("every promise holds"), style="bold green")
    return Text("\n" + _("every promise holds, and nothing needs a person"), style="bold green")


def _needs(overview: Overview, room: float, width: int) -> list[RenderableType]:
    """The lines at the bottom: as many needs as fit into ``room`` lines, at least one, then how many more."""
    if not overview.needs:
        return []
    lines: list[RenderableType] = [Text(_("Needs a person:"), style="bold")]
    shown = 0
    for need in overview.needs:
        text = _need(words_of(need, overview.now), width)
        taken = text.plain.count("\n") + 1
        if room < taken and shown:
            break
        lines.append(text)
        room, shown = room - taken, shown + 1
    if len(overview.needs) > shown:
        more = len(overview.needs) - shown
        lines.append(Text("  " + rest(more), style="dim"))
    return lines


def _need(need: NeedWords, width: int) -> Text:
    line = Text("  ")
    line.append("✗ " if need.urgent else "• ", style="bold red" if need.urgent else "yellow")
    line.append(need.subject, style="bold")
    line.append(f" {need.what}")
    step = f"→ {need.next}"
    # a command stands in one piece, so that it can be copied
    line.append("  " if line.cell_len + 2 + cell_len(step) <= width else "\n    ")
    line.append(step, style="dim")
    return line


def document(overview: Overview) -> dict[str, Any]:
    """The overview for ``--json``. Durations in seconds, instants in UTC."""
    return {
        "title": overview.title,
        "now": iso(overview.now),
        "breached": list(overview.breached),
        "broken_policies": list(overview.unknown),
        "systems": [_system_document(system) for system in overview.systems],
        "needs": [need_document(need, overview.now) for need in overview.needs],
    }


def _system_document(system: SystemStatus) -> dict[str, Any]:
    drill = system.drill
    return {
        "system": system.system,
        "title": system.title,
        "department": system.department,
        "level": system.level,
        "rto": {
            "state": str(system.rto.state),
            "promised_seconds": system.rto.promised.total_seconds(),
            "measured_seconds": _seconds(system.rto.actual),
        },
        "breached": system.breached,
        "drill": {
            "standing": str(system.drilled),
            "id": drill.id if drill else None,
            "verdict": drill.verdict if drill else None,
            "started_at": iso(drill.started_at) if drill else None,
        },
        "sources": [_source_document(source) for source in system.sources],
    }


def _source_document(source: SourceStatus) -> dict[str, Any]:
    point, run = source.newest, source.run
    return {
        "source": source.name,
        "kind": source.kind,
        "agent": source.agent,
        "rpo": {
            "state": str(source.rpo.state),
            "promised_seconds": source.rpo.promised.total_seconds(),
            "now_seconds": _seconds(source.rpo.actual),
        },
        "points_lost": source.lost,
        "newest": {
            "id": point.id,
            "pinned_at": iso(point.pinned_at),
            "committed_at": iso(point.committed_at),
            "rung": point.rung.label,
            "rung_at": iso(point.rung_at) if point.rung_at else None,
            "copies": list(point.copies),
        }
        if point
        else None,
        "last_run": {
            "id": run.id,
            "state": str(run.state),
            "ended_at": iso(run.ended_at) if run.ended_at else None,
            "error": run.error_message or None,
        }
        if run
        else None,
    }


def _seconds(length: timedelta | None) -> float | None:
    return None if length is None else length.total_seconds()
