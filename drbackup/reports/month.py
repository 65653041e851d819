"""The month on one page: what was promised, what was done, what was proven, system by system.

Owns the figures and their two forms, Markdown and a self-contained HTML page. :func:`month_of` and the renderers are
pure; :func:`recall_month` reads the catalog. A month that is not over is counted up to now, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

import jinja2

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.drills import Drill
from drbackup.controller.catalog.runs import Run, RunKind, RunState
from drbackup.model.point import Point
from drbackup.model.policy import Policy
from drbackup.reports.estate import NEGATIVE
from drbackup.reports.figures import iso, local, size, span
from drbackup.reports.tables import verdict_word
from drbackup.reports.words import _, language

_ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class Month:
    """One calendar month in the inventory's zone; ``end`` is exclusive, or now if the month is not over."""

    name: str  # 2026-11
    begin: datetime
    end: datetime
    whole: bool


@dataclass(frozen=True, slots=True)
class SystemMonth:
    """One system's month. ``in_rpo``: share of the time in which its promise held, of the worst source."""

    system: str
    title: str
    department: str
    level: int
    rpo: timedelta
    rto: timedelta
    committed: int
    failed: int
    missed: int
    in_rpo: float
    stored_bytes: int
    drills: tuple[Drill, ...]

    @property
    def rto_measured(self) -> float | None:
        """The longest RTO a drill measured, seconds."""
        return max((drill.rto_seconds for drill in self.drills if drill.rto_seconds is not None), default=None)


@dataclass(frozen=True, slots=True)
class History:
    """What happened to one system in a month, and the points shortly before it (the first instant's cover)."""

    runs: Sequence[Run]
    points: Sequence[Point]
    drills: Sequence[Drill]


def month_at(name: str, zone: tzinfo, now: datetime) -> Month:
    """``2026-11`` in ``zone``. Raises ValueError for another form or a month in the future."""
    begin = datetime.strptime(name, "%Y-%m").replace(tzinfo=zone)
    after = (begin.replace(day=28) + timedelta(days=4)).replace(day=1)
    if begin > now:
        raise ValueError(f"{name} has not begun")
    return Month(name, begin, min(after, now), whole=after <= now)


def recall_month(catalog: Catalog, policy: Policy, month: Month) -> History:
    """One system's history out of the catalog."""
    runs = catalog.runs.list(kind=RunKind.BACKUP, system=policy.system, limit=_ALL)
    points = catalog.points.list(system=policy.system, limit=_ALL)
    drills = catalog.drills.list(system=policy.system)
    return History(
        [run for run in runs if month.begin <= run.due_at < month.end],
        [point for point in points if month.begin - policy.objectives.rpo <= point.committed_at < month.end],
        [drill for drill in drills if month.begin <= drill.started_at < month.end and _counts(drill)],
    )


def _counts(drill: Drill) -> bool:
    """Only an ended drill of the copy itself: a negative one proves the prover."""
    return drill.ended_at is not None and drill.kind != NEGATIVE


def month_of(policy: Policy, history: History, month: Month) -> SystemMonth:
    """The figures of one system."""
    states = [run.state for run in history.runs]
    covers = [
        _cover([point for point in history.points if point.source == source.name], policy.objectives.rpo, month)
        for source in policy.sources
    ]
    inside = [point for point in history.points if point.committed_at >= month.begin]
    return SystemMonth(
        policy.system,
        policy.title,
        policy.department,
        policy.level,
        policy.objectives.rpo,
        policy.objectives.rto,
        states.count(RunState.COMMITTED),
        states.count(RunState.FAILED),
        states.count(RunState.MISSED),
        min(covers),
        sum(point.totals.stored_bytes for point in inside),
        tuple(history.drills),
    )


def _cover(points: Iterable[Point], rpo: timedelta, month: Month) -> float:
    """Share of the month in which some committed point was at most ``rpo`` old. A point covers from its commit on."""
    covered = timedelta(0)
    until = month.begin
    for point in sorted(points, key=lambda each: each.committed_at):
        begin = max(point.committed_at, until)
        end = min(point.pinned_at + rpo, month.end)
        if end > begin:
            covered += end - begin
        until = max(until, end)
    length = month.end - month.begin
    return covered / length if length else 0.0


# --- forms ------------------------------------------------------------------------------------------------------------


def _cells(each: SystemMonth) -> list[str]:
    last = each.drills[0] if each.drills else None
    measured = "-" if each.rto_measured is None else span(timedelta(seconds=round(each.rto_measured)))
    return [
        f"{each.title} ({each.system})",
        each.department,
        str(each.level),
        f"{each.committed} / {each.failed} / {each.missed}",
        f"{each.in_rpo:.1%}",
        span(each.rpo),
        verdict_word(last.verdict) if last else _("not run"),
        f"{measured} / {span(each.rto)}",
        size(each.stored_bytes),
    ]


def _heads() -> list[str]:
    return [
        _("System"),
        _("Department"),
        _("Level"),
        _("Backups good / failed / missed"),
        _("Time within RPO"),
        _("RPO promised"),
        _("Last drill"),
        _("RTO measured / promised"),
        _("Stored"),
    ]


def _intro(title: str, month: Month, zone: tzinfo) -> list[str]:
    lines = [_("{title}: backups and drills in {month}").format(title=title, month=month.name)]
    if not month.whole:
        lines.append(_("The month is not over; counted up to {when}.").format(when=local(month.end, zone)))
    lines.append(_("A system without a drill in the month counts as not proven."))
    return lines


def markdown(title: str, month: Month, systems: Sequence[SystemMonth], zone: tzinfo) -> str:
    """The page as Markdown."""
    heading, *notes = _intro(title, month, zone)
    rows = [_heads(), ["---"] * len(_heads()), *[_cells(each) for each in systems]]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    return f"# {heading}\n\n" + "\n\n".join(notes) + f"\n\n{table}\n"


_PAGE = jinja2.Environment(autoescape=True).from_string(
    """<!doctype html><html lang="{{ language }}"><meta charset="utf-8"><title>{{ heading }}</title>
<style>body{font:15px/1.5 "Noto Sans CJK SC",system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;padding:.4em .6em;text-align:left}
th{background:#f3f3f3}@media print{body{margin:0}}</style>
<h1>{{ heading }}</h1>{% for note in notes %}<p>{{ note }}</p>{% endfor %}
<table><thead><tr>{% for cell in heads %}<th>{{ cell }}</th>{% endfor %}</tr></thead><tbody>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></html>
"""
)


def html(title: str, month: Month, systems: Sequence[SystemMonth], zone: tzinfo) -> str:
    """The page as HTML that needs nothing from anywhere."""
    heading, *notes = _intro(title, month, zone)
    rows = [_cells(each) for each in systems]
    tag = language().replace("_", "-")
    return _PAGE.render(language=tag, heading=heading, notes=notes, heads=_heads(), rows=rows)


def document(title: str, month: Month, systems: Sequence[SystemMonth]) -> dict[str, Any]:
    """The page for ``--json``."""
    return {
        "title": title,
        "month": month.name,
        "begin": iso(month.begin),
        "end": iso(month.end),
        "whole": month.whole,
        "systems": [
            {
                "system": each.system,
                "title": each.title,
                "department": each.department,
                "level": each.level,
                "committed": each.committed,
                "failed": each.failed,
                "missed": each.missed,
                "in_rpo": round(each.in_rpo, 6),
                "rpo_seconds": each.rpo.total_seconds(),
                "rto_seconds": each.rto.total_seconds(),
                "rto_measured_seconds": each.rto_measured,
                "stored_bytes": each.stored_bytes,
                "drills": [{"id": drill.id, "verdict": drill.verdict} for drill in each.drills],
            }
            for each in systems
        ],
    }
