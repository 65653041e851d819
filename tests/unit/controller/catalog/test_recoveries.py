"""A recovery's steps keep why they failed, and older rows are still understood."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import update

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.recoveries import Recovery, RecoveryStep
from drbackup.controller.catalog.tables import recovery_steps
from drbackup.errors import Failure, TargetOccupied, say

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ERROR = TargetOccupied(say("{folder} holds data", folder="/srv"), host="db1", where="/srv", hint="say --replace")


def begun(catalog: Catalog) -> None:
    catalog.recoveries.begin(Recovery("r1", "{}", "running", NOW, steps=(RecoveryStep("a/b", 0, "waiting"),)))


def test_a_failed_step_comes_back_with_every_field_as_it_was_said(tmp_path: Path) -> None:
    failure = Failure.of(ERROR)
    with Catalog.open(tmp_path / "catalog.sqlite") as catalog:
        begun(catalog)
        catalog.recoveries.step("r1", RecoveryStep("a/b", 0, "failed", NOW, NOW, failure.line, failure))
    with Catalog.open(tmp_path / "catalog.sqlite") as catalog:
        (step,) = catalog.recoveries.get("r1").steps
    assert step.detail == "TargetOccupied: /srv holds data"
    assert step.failure == failure
    assert step.failure.error().said.template == "{folder} holds data"


@pytest.mark.parametrize(
    ("detail", "failure"),
    [
        ("TargetOccupied: /srv holds data", Failure("TargetOccupied", "/srv holds data")),
        ("2 files, 9 bytes", None),
        ("waits for registry", None),
        ("", None),
    ],
)
def test_a_row_of_an_older_program_is_read_by_its_line(tmp_path: Path, detail: str, failure: Failure | None) -> None:
    with Catalog.open(tmp_path / "catalog.sqlite") as catalog:
        begun(catalog)
        with catalog.database.write() as connection:
            connection.execute(update(recovery_steps).values(detail=detail))
        (step,) = catalog.recoveries.get("r1").steps
    assert (step.detail, step.failure) == (detail, failure)
