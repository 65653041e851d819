"""A drill's statement as evidence holds it, for tests of what is made from it."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from drbackup.controller.drills.statement import CheckOutcome, DrillStatement, PointUsed, StatedRule

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def used(source: str, identity: str, **more: object) -> PointUsed:
    known = {"name": "", "kind": "files", "domain": "db1", "store": "main", "pinned_at": NOW, "committed_at": NOW}
    return msgspec.convert({"id": identity * 64, "source": source, **known, **more}, PointUsed)


def check(source: str, passed: bool, other: str = "") -> CheckOutcome:
    return CheckOutcome(number=0, kind="sql", source=source, other=other, passed=passed)


def statement(**changes: object) -> DrillStatement:
    """``register`` and ``scans`` restored, the first one checked, and an older point of it restored."""
    whole = DrillStatement(
        id="d1",
        kind="drill",
        scenario="",
        city="",
        system="registry",
        title="",
        department="",
        level=4,
        time_zone="UTC",
        planned_at=NOW,
        declared_at=NOW,
        ended_at=NOW,
        verdict="conditional",
        promised_rto=60.0,
        promised_rpo=60.0,
        measured_rto=1.5,
        measured_rpo=None,
        selection="",
        agent="drill1",
        host={},
        points=(used("register", "a"), used("scans", "b"), used("register", "c", newest=False)),
        phases=(),
        checks=(check("register", passed=True), check("register@" + "c" * 12, passed=False)),
        findings=(StatedRule("canary-missing", "scans", "", ""),),
        wiped=True,
        wipe_proof="",
    )
    return msgspec.structs.replace(whole, **changes)
