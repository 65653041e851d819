"""A burnt city comes back in order, resumes after a kill, and nothing happens before somebody says so."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drbackup.controller.evidence import verify_folder
from drbackup.controller.home.installation import Installation
from drbackup.controller.restore.recovery import load_plan, plan_recovery
from drbackup.controller.restore.restore import choose_point
from drbackup.errors import PointMissing, TargetOccupied
from drbackup.wire.specs import FolderTarget
from tests.support.cities.drilled_city import PORTAL, REGISTRY, DrilledCity
from tests.support.runs import restore_point, run_recovery
from tests.support.services.postgres import PostgresServer

pytestmark = pytest.mark.postgres


@pytest.fixture
def city(tmp_path: Path, postgres_server: PostgresServer) -> Iterator[DrilledCity]:
    made = DrilledCity(tmp_path, postgres_server).build()
    yield made
    made.drop()


@pytest.fixture
def installation(city: DrilledCity) -> Iterator[Installation]:
    with city.open() as opened:
        city.back_up(opened)
        yield opened


def fingerprint(city: DrilledCity) -> str:
    """All of the city's data in one digest."""
    digest = hashlib.sha256()
    for path in sorted(city.scans.rglob("*.tif")):
        digest.update(path.relative_to(city.scans).as_posix().encode() + path.read_bytes())
    for table in ("enterprise", "attachment"):
        digest.update(city.sql(f"select * from {table} order by id").encode())
    with closing(sqlite3.connect(city.cases)) as database:
        digest.update(repr(database.execute("select * from case_file order by id").fetchall()).encode())
    return digest.hexdigest()


def test_a_burnt_city_comes_back_as_it_was_in_the_order_of_its_dependencies(
    city: DrilledCity, installation: Installation
) -> None:
    before = fingerprint(city)
    city.burn()
    heard: list[tuple[str, str]] = []
    plan = plan_recovery(installation)
    outcome = run_recovery(installation, plan, apply=True, on_step=lambda name, state: heard.append((name, state)))
    assert outcome.complete, outcome
    assert fingerprint(city) == before
    begun = [name.split("/")[0] for name, state in heard if state == "running"]
    assert begun == [REGISTRY, REGISTRY, PORTAL]
    assert heard.index(("portal/cases", "running")) > heard.index(("registry/scans", "done"))
    assert all(system.kept for system in outcome.systems)
    assert verify_folder(installation.evidence_folder, installation.signer.public).good
    assert outcome.evidence is not None
    assert outcome.evidence.subject == "recovery"


def test_nothing_is_written_without_apply(city: DrilledCity, installation: Installation) -> None:
    city.burn()
    outcome = run_recovery(installation, plan_recovery(installation))
    assert outcome.ready, outcome.preflight
    assert not outcome.applied
    assert not city.scans.exists()
    assert not city.cases.exists()
    assert list(installation.catalog.recoveries.list()) == []


def test_a_system_is_planned_with_what_it_needs_first(installation: Installation) -> None:
    plan = plan_recovery(installation, [PORTAL])
    assert [[step.system for step in wave] for wave in plan.waves] == [[REGISTRY], [PORTAL]]
    assert plan.steps[1].after == (REGISTRY,)
    assert plan.bytes > 0
    assert plan_recovery(installation, [REGISTRY]).waves[0][0].system == REGISTRY


def test_existing_data_is_not_replaced_unless_asked_and_dependents_are_held_back(
    city: DrilledCity, installation: Installation
) -> None:
    outcome = run_recovery(installation, plan_recovery(installation), apply=True)
    assert not outcome.complete
    by_name = {system.system: system for system in outcome.systems}
    assert by_name[REGISTRY].state == "failed"
    assert "TargetOccupied" in by_name[REGISTRY].details["scans"]
    assert by_name[PORTAL].state == "held-back"
    assert by_name[PORTAL].rto is None
    before = fingerprint(city)
    again = run_recovery(installation, plan_recovery(installation), apply=True, replace=True)
    assert again.complete, again
    assert again.resumed
    assert fingerprint(city) == before


def test_a_recovery_below_a_folder_touches_no_department(
    city: DrilledCity, installation: Installation, tmp_path: Path
) -> None:
    target = tmp_path / "elsewhere"
    outcome = run_recovery(installation, plan_recovery(installation), apply=True, target_folder=target)
    assert outcome.complete, outcome
    restored = target / "registry" / "scans" / str(city.scans).lstrip("/")
    assert sorted(path.name for path in restored.rglob("*.tif")) == sorted(p.name for p in city.scans.rglob("*.tif"))
    assert (target / "portal" / "cases" / "cases.db").exists()


def test_a_killed_recovery_goes_on_and_repeats_no_finished_step(city: DrilledCity, installation: Installation) -> None:
    before = fingerprint(city)
    city.burn()
    child = multiprocessing.get_context("spawn").Process(target=_recover_and_die, args=(city.root,))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    (broken,) = installation.catalog.recoveries.list()
    done = {step.step: step for step in broken.steps if step.state == "done"}
    assert "registry/register" in done
    assert "portal/cases" not in done
    outcome = run_recovery(installation, load_plan(installation, broken.id), apply=True)
    assert outcome.complete, outcome
    assert outcome.resumed
    assert outcome.id == broken.id
    after = {step.step: step for step in installation.catalog.recoveries.get(broken.id).steps}
    assert all(after[name].ended_at == step.ended_at for name, step in done.items())
    assert fingerprint(city) == before
    registry = next(system for system in outcome.systems if system.system == REGISTRY)
    assert registry.rto is not None
    assert registry.rto <= datetime.now(UTC) - broken.started_at


def test_what_an_old_or_finished_recovery_brought_back_is_not_believed_to_be_there_still(
    city: DrilledCity, installation: Installation, tmp_path: Path
) -> None:
    plan = plan_recovery(installation, [REGISTRY])
    options = {"apply": True, "target_folder": tmp_path / "x"}
    first = run_recovery(installation, plan, **options)  # type: ignore[arg-type]
    assert first.complete
    installation.catalog.recoveries.state(first.id, "failed")
    assert run_recovery(installation, plan, **options).resumed  # type: ignore[arg-type]
    later = datetime.now(UTC) + timedelta(days=4)
    anew = run_recovery(installation, plan, **options, replace=True, now=lambda: later)  # type: ignore[arg-type]
    assert not anew.resumed
    assert anew.complete, anew


def test_the_preflight_names_a_wrong_key_and_a_point_that_is_gone(
    city: DrilledCity, installation: Installation, tmp_path: Path
) -> None:
    plan = plan_recovery(installation)
    wrong = run_recovery(installation, plan, key=b"\x07" * 32, target_folder=tmp_path / "x")
    assert not wrong.ready
    assert all("WrongKey" in line.said for line in wrong.preflight if "/" in line.what and not line.good)
    for record in (city.store / "v1" / "r" / "portal").iterdir():
        record.unlink()
    gone = run_recovery(installation, plan, target_folder=tmp_path / "x")
    assert [line.what for line in gone.preflight if not line.good] == ["portal/cases"]


def test_a_source_without_a_point_is_missing_in_the_plan_and_does_not_stop_the_others(
    city: DrilledCity,
) -> None:
    with city.open() as opened:
        plan = plan_recovery(opened)
        assert plan.steps[0].missing == ("register", "scans")
        outcome = run_recovery(opened, plan, apply=True, target_folder=city.root / "x")
        assert [system.state for system in outcome.systems] == ["failed", "held-back"]


def test_a_measured_rto_is_held_against_the_promise_from_the_declaration(
    city: DrilledCity, installation: Installation, tmp_path: Path
) -> None:
    declared = datetime.now(UTC) - timedelta(hours=9)
    plan = plan_recovery(installation, [REGISTRY])
    outcome = run_recovery(installation, plan, apply=True, target_folder=tmp_path / "x", declared_at=declared)
    (registry,) = outcome.systems
    assert registry.rto is not None
    assert registry.rto > timedelta(hours=9)
    assert not registry.kept


def test_a_point_is_chosen_by_name_and_by_time(city: DrilledCity, installation: Installation, tmp_path: Path) -> None:
    catalog = installation.catalog
    newest = choose_point(catalog, PORTAL, "cases")
    assert choose_point(catalog, PORTAL, "cases", newest.id[:8]) == newest
    assert choose_point(catalog, PORTAL, "cases", datetime.now(UTC).isoformat()) == newest
    with pytest.raises(PointMissing):
        choose_point(catalog, PORTAL, "cases", "2020-01-01")
    target = FolderTarget(str(tmp_path / "one"))
    assert restore_point(installation, newest, target=target).files == 1
    with pytest.raises(TargetOccupied):
        restore_point(installation, newest, target=target)


def _recover_and_die(root: Path) -> None:
    """In a process of its own: killed right after the first finished source."""

    def die(name: str, state: str) -> None:
        if state == "done":
            os.kill(os.getpid(), signal.SIGKILL)

    with Installation.open(root / "home", root / "policies") as opened:
        run_recovery(opened, plan_recovery(opened), apply=True, on_step=die)
