"""A drill's evidence as one page: self-contained HTML in both languages, for printing and filing.

The page is made from the signed statement alone and adds nothing to it. It can be made again at any time, so nothing is
lost with it.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from markupsafe import Markup

from drbackup.controller.drills.statement import DrillStatement, StatedRule, decode
from drbackup.controller.evidence import Evidence, list_folder
from drbackup.model.verdict import Rule, Verdict
from drbackup.model.words import Words
from drbackup.reports import bilingual, timeline
from drbackup.reports.figures import size
from drbackup.reports.page_templates import PAGE_TEMPLATES
from drbackup.system.durable import write_file


def write_report(evidence: Evidence) -> Path:
    """The path of the page, which is written beside the evidence.

    Raises :class:`~drbackup.errors.ObjectCorrupt` when the statement is no drill's.
    """
    page = render(evidence, evidence.statement_path.read_bytes())
    write_file(evidence.report_path, page.encode())
    return evidence.report_path


def write_missing(folder: Path) -> list[Path]:
    """The paths of new pages, one for every drill in an evidence folder that has none yet.

    The daemon's drills have none, because the daemon prints no pages.
    """
    drills = [each for each in list_folder(folder) if each.subject in bilingual.SUBJECTS]
    return [write_report(each) for each in drills if not each.report_path.exists() and each.statement_path.exists()]


def render(evidence: Evidence, data: bytes) -> str:
    """The page as HTML. ``data``: the statement's bytes as they were signed.

    Raises :class:`~drbackup.errors.ObjectCorrupt` when they are no drill's statement.
    """
    statement = decode(data, evidence.statement_path.name)
    zone = ZoneInfo(statement.time_zone)

    def local(instant: datetime | None) -> str:
        return "—" if instant is None else instant.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")

    return PAGE_TEMPLATES.get_template("drill.html").render(
        s=statement,
        evidence=evidence,
        statement_sha256=hashlib.sha256(data).hexdigest(),
        verdict=bilingual.VERDICTS[Verdict(statement.verdict)],
        subject=bilingual.SUBJECTS.get(statement.kind, Words(statement.kind, statement.kind)),
        promises=_promises(statement),
        findings=[_finding(finding) for finding in statement.findings],
        svg=Markup(timeline.draw(statement.phases, statement.measured_rto)),
        legend=timeline.legend(statement.phases),
        checks=bilingual.CHECKS,
        facts=_facts(statement.host),
        local=local,
        size=size,
    )


def _promises(statement: DrillStatement) -> list[tuple[str, Words, Words, Words, float, bool | None]]:
    """The rows for RTO and RPO: (abbreviation, name, promised, measured, share used, kept).

    The share of the promise that was used is 0–1. ``kept`` is None when nothing was measured.
    """
    rows = []
    for short, name, promised, measured in (
        ("RTO", Words("恢复时间目标", "recovery time"), statement.promised_rto, statement.measured_rto),
        ("RPO", Words("恢复点目标", "recovery point"), statement.promised_rpo, statement.measured_rpo),
    ):
        share = 0.0 if measured is None else min(max(measured / promised, 0.0), 1.0) if promised else 1.0
        kept = None if measured is None else measured <= promised
        rows.append((short, name, bilingual.length(promised), bilingual.length(measured), share, kept))
    return rows


def _finding(finding: StatedRule) -> tuple[StatedRule, Words, Words, Words]:
    try:
        words = bilingual.RULES[Rule(finding.rule)]
    except ValueError:  # evidence of a newer program: its rule's own name still says something
        words = Words(finding.rule, finding.rule)
    return finding, words, bilingual.span_text(finding.seen), bilingual.span_text(finding.promised)


def _facts(host: dict[str, str]) -> list[tuple[Words, str]]:
    known = [(words, host[key]) for key, words in bilingual.HOST_FACTS.items() if host.get(key)]
    return known + [(Words(key, ""), host[key]) for key in sorted(host.keys() - bilingual.HOST_FACTS.keys())]
