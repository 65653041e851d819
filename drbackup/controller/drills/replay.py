"""What a drill's signed evidence lets a catalog say again: the drill's row, and how far each point was proven.

Never higher than the statement says: a point without a finding that it was not restored was restored; a point whose
every check passed, and that had one, is app-checked. A drill that was not run, and a negative one, prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from drbackup.controller.catalog.drills import PLAIN_DRILL, Drill
from drbackup.controller.drills.statement import DrillStatement, PointUsed
from drbackup.model.point import DrilledPoint, Rung
from drbackup.model.verdict import Rule, Verdict


def drill_row(statement: DrillStatement, evidence: str) -> Drill:
    """The catalog's row of the drill. ``evidence``: the object's id."""
    return Drill(
        id=statement.id,
        system=statement.system,
        kind=statement.kind,
        planned_at=statement.planned_at,
        started_at=statement.declared_at,
        ended_at=statement.ended_at,
        verdict=statement.verdict,
        host=statement.agent,
        points=tuple(point.id for point in statement.points),
        evidence=evidence,
        rto_seconds=statement.measured_rto,
        rpo_seconds=statement.measured_rpo,
        findings=tuple(finding_line(each.rule, each.subject, each.seen, each.promised) for each in statement.findings),
    )


def finding_line(rule: str, subject: str, seen: str, promised: str) -> str:
    """One finding on one line, for the catalog's row."""
    figures = " / ".join(part for part in (seen, promised) if part)
    return ": ".join(part for part in (rule, subject, figures) if part)


def rungs(statement: DrillStatement) -> Iterator[tuple[str, Rung]]:
    """(point id, how far this drill proved it)."""
    if statement.kind != PLAIN_DRILL or statement.verdict == Verdict.NOT_RUN:
        return
    lost = {each.subject for each in statement.findings if each.rule == Rule.NOT_RESTORED}
    good = {end for check in statement.checks if check.passed for end in (check.source, check.other)}
    bad = {end for check in statement.checks if not check.passed for end in (check.source, check.other)}
    for point in statement.points:
        label = _label(point)
        if point.failure or label in lost:
            continue
        yield point.id, Rung.APP_CHECKED if label in good - bad else Rung.RESTORED


def _label(point: PointUsed) -> str:
    """How findings and checks of the drill call the point."""
    return str(DrilledPoint(point.source, "" if point.newest else point.id[:12]))
