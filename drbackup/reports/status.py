"""The status screen: one row a source, everything that needs a person at the bottom.

Pure rendering of an :class:`~drbackup.reports.estate.Estate`: a rich table for people, a document for ``--json``.
"""

from __future__ import annotations

from datetime import timedelta, tzinfo
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from drbackup.model.objectives import PromiseState
from drbackup.model.point import Point, Rung
from drbackup.reports.estate import DrillStanding, Estate, Need, SourceStatus, SystemStatus
from drbackup.reports.figures import age, iso, local, span
from drbackup.reports.words import _, ngettext

WIDE = 110  # columns from which times stand beside ages
_OTHER_LINES = 7  # head, table head, empty line, verdict, "needs", "and more", prompt
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
    """A drill standing in the reader's language."""
    return {
        DrillStanding.PROVEN: _("passed"),
        DrillStanding.CONDITIONAL: _("conditional"),
        DrillStanding.FAILED: _("failed"),
        DrillStanding.OVERDUE: _("overdue"),
        DrillStanding.NEVER: _("never"),
        DrillStanding.NONE: _("none asked"),
    }[standing]


def render(estate: Estate, zone: tzinfo, width: int, height: int) -> RenderableType:
    """The screen for a terminal of ``width`` columns and ``height`` lines (0: endless paper)."""
    rows = sum(len(system.sources) for system in estate.systems)
    room = max(height - rows - _OTHER_LINES, _LEAST_NEEDS) if height else len(estate.needs)
    head = Text(estate.title, style="bold")
    head.append(f"  {local(estate.now, zone)} {estate.now.astimezone(zone).tzname() or ''}", style="dim")
    return Group(head, _table(estate, zone, wide=width >= WIDE), _verdict(estate), *_needs(estate, room))


def _table(estate: Estate, zone: tzinfo, *, wide: bool) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold dim", expand=False)
    table.add_column(_("System"), max_width=None if wide else 21)
    if wide:
        table.add_column(_("Title"))
    table.add_column(_("L"), justify="right", min_width=1)
    table.add_column(_("Source"), max_width=None if wide else 10)
    # on a narrow screen only names give way, never a figure
    table.add_column(_("Newest point") if wide else _("Newest"))
    table.add_column(_("Proven"), min_width=11)
    table.add_column(_("RPO now / promise") if wide else "RPO", min_width=11)
    table.add_column(_("Last drill") if wide else _("Drill"))
    for column in table.columns:
        column.no_wrap = True
    for system in estate.systems:
        for number, source in enumerate(system.sources):
            first = number == 0
            cells: list[str | Text] = [system.system if first else ""]
            if wide:
                cells.append(system.title if first else "")
            cells += [
                str(system.level) if first else "",
                source.name,
                _newest(source, estate, zone, wide=wide),
                _rung(source.newest, estate, wide=wide),
                _rpo(source),
                _drill(system, estate, wide=wide) if first else "",
            ]
            table.add_row(*cells)
    return table


def _newest(source: SourceStatus, estate: Estate, zone: tzinfo, *, wide: bool) -> Text:
    if source.running and source.run is not None:
        return Text(_("running: {phase}").format(phase=source.run.phase or source.run.state), style="cyan")
    if source.newest is None:
        return Text(_("none"), style="bold red")
    text = Text(age(source.newest.pinned_at, estate.now))
    if wide:
        text.append(f"  {local(source.newest.pinned_at, zone)}", style="dim")
    return text


def _rung(point: Point | None, estate: Estate, *, wide: bool) -> Text:
    if point is None:
        return Text("-", style="dim")
    text = Text(rung_word(point.rung), style=RUNG_STYLES[point.rung])
    if wide and point.rung_at is not None:
        text.append(f"  {age(point.rung_at, estate.now)}", style="dim")
    return text


def _rpo(source: SourceStatus) -> Text:
    now = "∞" if source.rpo.actual is None else span(source.rpo.actual)
    return Text(f"{now} / {span(source.rpo.promised)}", style=_PROMISE_STYLES[source.rpo.state])


def _drill(system: SystemStatus, estate: Estate, *, wide: bool) -> Text:
    text = Text(drill_word(system.drilled), style=_DRILL_STYLES[system.drilled])
    if system.drill is not None and wide:
        text.append(f"  {age(system.drill.started_at, estate.now)}", style="dim")
    return text


def _verdict(estate: Estate) -> Text:
    broken = len(estate.breached)
    if broken:
        words = ngettext("{n} system breaks its promise", "{n} systems break their promise", broken)
        return Text("\n" + words.format(n=broken), style="bold red")
    if estate.needs:
        return Text("\n" + _("every promise holds"), style="bold green")
    return Text("\n" + _("every promise holds, and nothing needs a person"), style="bold green")


def _needs(estate: Estate, room: int) -> list[RenderableType]:
    if not estate.needs:
        return []
    lines: list[RenderableType] = [Text(_("Needs a person:"), style="bold")]
    lines += [_need(need) for need in estate.needs[:room]]
    if len(estate.needs) > room:
        more = len(estate.needs) - room
        lines.append(Text("  " + _("… and {n} more (--json shows all)").format(n=more), style="dim"))
    return lines


def _need(need: Need) -> Text:
    line = Text("  ")
    line.append("✗ " if need.urgent else "• ", style="bold red" if need.urgent else "yellow")
    line.append(need.subject, style="bold")
    line.append(f" {need.what}")
    line.append(f"  → {need.next}", style="dim")
    return line


def document(estate: Estate) -> dict[str, Any]:
    """The ``--json`` form. Durations in seconds, instants in UTC."""
    return {
        "title": estate.title,
        "now": iso(estate.now),
        "breached": list(estate.breached),
        "systems": [_system_document(system) for system in estate.systems],
        "needs": [
            {"subject": need.subject, "what": need.what, "next": need.next, "urgent": need.urgent}
            for need in estate.needs
        ],
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
