"""What signed evidence says of points and drills is said again, and never more."""

from __future__ import annotations

import pytest

from drbackup.controller.drills.replay import drill_row, rungs
from drbackup.controller.drills.statement import StatedRule
from drbackup.model.point import Rung
from tests.support.doubles.told_drill import check, statement, used


def test_a_point_climbs_as_far_as_its_own_checks_went() -> None:
    found = dict(rungs(statement()))
    assert found == {"a" * 64: Rung.APP_CHECKED, "b" * 64: Rung.RESTORED, "c" * 64: Rung.RESTORED}


def test_a_failed_check_on_either_end_keeps_both_from_being_app_checked() -> None:
    checks = (check("register", passed=True), check("scans", passed=True), check("register", False, "scans"))
    assert set(dict(rungs(statement(checks=checks))).values()) == {Rung.RESTORED}


def test_what_was_not_restored_climbs_nowhere() -> None:
    points = (used("register", "a", failure="ObjectCorrupt: x"), used("scans", "b"))
    findings = (StatedRule("not-restored", "scans", "the drill host did not say that it was restored"),)
    assert dict(rungs(statement(points=points, findings=findings))) == {}


@pytest.mark.parametrize("changes", [{"kind": "negative-drill"}, {"verdict": "not-run"}])
def test_a_negative_drill_and_one_that_was_not_run_prove_nothing(changes: dict[str, str]) -> None:
    assert dict(rungs(statement(**changes))) == {}


def test_the_catalogs_row_is_made_of_the_statement_alone() -> None:
    row = drill_row(statement(), "e" * 64)
    assert (row.verdict, row.host, row.rto_seconds, row.rpo_seconds) == ("conditional", "drill1", 1.5, None)
    assert row.points == ("a" * 64, "b" * 64, "c" * 64)
    assert row.findings == ("canary-missing: scans",)
