"""What a rebuilt catalog takes from a drill's signed evidence: the drill's row, and each point's rung.

A rung is never higher than the statement proves. A point is restored unless a finding says that it was not. It is
app-checked when it had at least one check and all passed. A drill that was not run, or a negative one, proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from drbackup.controller.catalog.drills import PLAIN_DRILL, Drill
from drbackup.controller.drills.statement import DrillStatement, PointUsed
from drbackup.model.point import DrilledPoint, Rung
from drbackup.model.verdict import Rule, Verdict


def drill_row(statement: DrillStatement, evidence: str) -> Drill:
    """The catalog's row of the drill. ``evidence``: the id of the evidence object."""
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
    """(point id, the rung that this drill proved) of every point that it restored."""
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
    """The label of the point in the drill's findings and checks."""
    return str(DrilledPoint(point.source, "" if point.newest else point.id[:12]))
