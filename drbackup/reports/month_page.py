"""The month's figures as Markdown, as a self-contained HTML page, and as the document of ``--json``.

Pure. Systems keep the given order; :func:`~drbackup.reports.month.gaps_first` puts gaps first.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any

import msgspec

from drbackup.model.needs import Need
from drbackup.reports.figures import iso, local, size, span
from drbackup.reports.gettext import _, language, ngettext
from drbackup.reports.month import Month, SystemMonth
from drbackup.reports.needs import NeedWords, need_document, words_of
from drbackup.reports.page_templates import PAGE_TEMPLATES
from drbackup.reports.tables import verdict_word

_TONES = {"passed": "good", "conditional": "warn"}  # of a drill's verdict; all others are bad


class Page(msgspec.Struct, frozen=True):
    """The content of a month's page, for every form of it."""

    title: str  # the installation's, from the inventory
    month: Month
    systems: Sequence[SystemMonth]
    zone: tzinfo  # of every time on the page
    written_at: datetime
    needs: Sequence[Need] = ()  # at ``written_at``, whatever month the page is about


class Cell(msgspec.Struct, frozen=True):
    """One cell of the page's table."""

    text: str
    more: str = ""  # a second line, in small letters
    tone: str = ""  # good, warn, bad, or empty for no colour
    figure: bool = False  # aligned to the right

    def __str__(self) -> str:
        return f"{self.text} ({self.more})" if self.more else self.text


def _row(each: SystemMonth, page: Page) -> list[Cell]:
    measured = each.rto_measured
    late = measured is not None and measured > each.policy.objectives.rto.total_seconds()
    rto = "-" if measured is None else span(timedelta(seconds=round(measured)))
    backups = f"{each.committed} / {each.failed} / {each.missed}"
    return [
        Cell(each.policy.title, each.policy.system),
        Cell(each.policy.department),
        Cell(str(each.policy.level), figure=True),
        Cell(backups, tone="warn" if each.failed or each.missed else "", figure=True),
        _in_rpo(each, page),
        Cell(span(each.policy.objectives.rpo), figure=True),
        Cell(verdict_word(each.verdict) if each.drills else _("not run"), tone=_TONES.get(each.verdict, "bad")),
        Cell(f"{rto} / {span(each.policy.objectives.rto)}", tone="bad" if late else "", figure=True),
        Cell(size(each.stored_bytes), figure=True),
    ]


def _in_rpo(each: SystemMonth, page: Page) -> Cell:
    worst = each.worst
    if worst.since is None:
        return Cell(_("GAP"), _("no point yet: {sources}").format(sources=", ".join(each.gaps)), "bad")
    if worst.share is None:
        return Cell("-", _("first protected {when}").format(when=_when(worst.since, page)))
    more = [] if worst.since <= page.month.begin else [_("since {when}").format(when=_when(worst.since, page))]
    if each.damaged:
        words = ngettext("{n} point damaged in every copy", "{n} points damaged in every copy", each.damaged)
        more.append(words.format(n=each.damaged))
    # Damaged points break no promise where others cover their time, but without a colour nobody would see them.
    tone = "warn" if worst.share < 1 or each.damaged else "good"
    return Cell(f"{_floored(worst.share):.1%}", "; ".join(more), tone)


def _floored(share: float) -> float:
    """A share rounded down to a tenth of a percent: 99.96 % must not read as 100 %."""
    return int(share * 1000) / 1000


def _when(at: datetime, page: Page) -> str:
    return local(at, page.zone)[:16]  # to the minute


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


def _notes(page: Page) -> list[str]:
    notes = []
    if not page.month.whole:
        notes.append(_("The month is not over; counted up to {when}.").format(when=local(page.month.end, page.zone)))
    notes.append(_("Time within the RPO counts from a system's first point on; a source without a point is a gap."))
    if any(each.damaged for each in page.systems):
        notes.append(
            _("A point that is damaged in every copy does not count: nothing can be restored from it in full.")
        )
    notes.append(_("A system without a drill in the month counts as not proven."))
    return notes


def _judgement(page: Page) -> tuple[str, str]:
    """(the month in a few words, its tone: failed, conditional or passed, as on a drill's page)."""
    gaps = sum(bool(each.gaps) for each in page.systems)
    if gaps:
        return ngettext("{n} system is not protected", "{n} systems are not protected", gaps).format(n=gaps), "failed"
    unproven = sum(each.verdict != "passed" or (each.in_rpo or 0) < 1 for each in page.systems)
    if unproven:
        words = ngettext("{n} system is short of its promises", "{n} systems are short of their promises", unproven)
        return words.format(n=unproven), "conditional"
    return _("Every promise was kept and proven"), "passed"


def _needs_heading(page: Page) -> str:
    return _("Needs a person, as of {when}").format(when=_when(page.written_at, page))


def _needs(page: Page) -> list[NeedWords]:
    return [words_of(need, page.written_at) for need in page.needs]


def _heading(page: Page) -> str:
    return _("{title}: backups and drills in {month}").format(title=page.title, month=page.month.name)


def markdown(page: Page) -> str:
    """The page as Markdown, in the reader's language."""
    rows = [_heads(), ["---"] * len(_heads()), *[[str(cell) for cell in _row(each, page)] for each in page.systems]]
    table = "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in rows)
    notes = "\n\n".join([f"**{_judgement(page)[0]}**", *_notes(page)])
    return f"# {_heading(page)}\n\n{notes}\n\n{table}\n{_needs_markdown(page)}"


def _needs_markdown(page: Page) -> str:
    if not page.needs:
        return ""
    lines = [f"- {'✗' if each.urgent else '•'} **{each.subject}** {each.what} → {each.next}" for each in _needs(page)]
    return f"\n## {_needs_heading(page)}\n\n" + "\n".join(lines) + "\n"


def html(page: Page) -> str:
    """The page as HTML in the reader's language, in one file without outside references."""
    words, tone = _judgement(page)
    return PAGE_TEMPLATES.get_template("month.html").render(
        language=language().replace("_", "-"),
        heading=_heading(page),
        kind=_("Monthly report"),
        page=page,
        words=words,
        tone=tone,
        notes=_notes(page),
        heads=_heads(),
        rows=[_row(each, page) for each in page.systems],
        needs_heading=_needs_heading(page),
        needs=_needs(page),
    )


def document(page: Page) -> dict[str, Any]:
    """The page for ``--json``: durations in seconds, instants in UTC, shares 0–1, sizes in bytes."""
    month = page.month
    return {
        "title": page.title,
        "month": month.name,
        "begin": iso(month.begin),
        "end": iso(month.end),
        "whole": month.whole,
        "systems": [_system(each) for each in page.systems],
        "written_at": iso(page.written_at),
        "needs": [need_document(need, page.written_at) for need in page.needs],
    }


def _system(each: SystemMonth) -> dict[str, Any]:
    share, since = each.in_rpo, each.worst.since
    return {
        "system": each.policy.system,
        "title": each.policy.title,
        "department": each.policy.department,
        "level": each.policy.level,
        "committed": each.committed,
        "failed": each.failed,
        "missed": each.missed,
        "gaps": list(each.gaps),
        "damaged_points": each.damaged,
        "in_rpo": None if share is None else round(share, 6),
        "in_rpo_since": None if since is None else iso(since),
        "rpo_seconds": each.policy.objectives.rpo.total_seconds(),
        "rto_seconds": each.policy.objectives.rto.total_seconds(),
        "rto_measured_seconds": each.rto_measured,
        "stored_bytes": each.stored_bytes,
        "drills": [{"id": drill.id, "verdict": drill.verdict} for drill in each.drills],
    }
