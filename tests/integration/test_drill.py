"""Drills on a real city: real agents, a real database, a folder store; nothing but the wiring of hosts is pretended."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import psutil
import pytest
from msgspec.structs import replace

from drbackup.controller.drills.run import DrillOutcome, close_abandoned
from drbackup.controller.drills.statement import decode
from drbackup.controller.evidence import find, list_folder, verify_folder, verify_stores
from drbackup.controller.home.installation import Installation
from drbackup.errors import Interrupted, UsageError
from drbackup.model.point import Point, Rung
from drbackup.model.verdict import Rule, Verdict
from drbackup.reports.drill import write_missing
from drbackup.vault.record import read_record
from drbackup.wire.messages import Progress
from drbackup_agent.drill.sandbox import marked_processes
from tests.support.cities.drilled_city import PORTAL, REGISTRY, DrilledCity
from tests.support.poll import wait_until
from tests.support.runs import run_drill
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
        yield opened


def rules(outcome: object) -> set[Rule]:
    return {reason.rule for reason in outcome.reasons}  # type: ignore[attr-defined]


def damage(city: DrilledCity, installation: Installation, point: Point) -> None:
    """Flip a byte in the middle of every data pack of a point, in the store."""
    record = read_record(installation.store("offsite"), point.name, installation.signer.public)
    names = {pack[1:].hex() for pack in record.packs if pack[:1] == b"p"}
    for path in city.store.rglob("*"):
        if path.name in names:
            path.chmod(0o600)
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)


@dataclass(frozen=True)
class Passed:
    """A city that was drilled once, and well; nobody changes it."""

    city: DrilledCity
    installation: Installation
    points: dict[str, Point]
    registry: DrillOutcome
    portal: DrillOutcome


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[Passed]:
    made = DrilledCity(tmp_path_factory.mktemp("passed"), postgres_server).build()
    with made.open() as opened:
        points = made.back_up(opened)
        yield Passed(made, opened, points, run_drill(opened, REGISTRY), run_drill(opened, PORTAL))
    made.drop()


def test_a_good_copy_passes_and_its_points_climb_to_the_top(passed: Passed) -> None:
    outcome, catalog = passed.registry, passed.installation.catalog
    assert outcome.verdict is Verdict.PASSED, outcome.reasons
    assert outcome.rto is not None
    assert timedelta(0) < outcome.rto < timedelta(minutes=2)
    assert outcome.rpo is not None
    assert timedelta(0) <= outcome.rpo < timedelta(minutes=5)
    for source in ("register", "scans"):
        assert catalog.points.get(passed.points[source].id).rung is Rung.APP_CHECKED
    row = catalog.drills.last(REGISTRY)
    assert row is not None
    assert (row.verdict, row.evidence) == ("passed", outcome.evidence.id)


def test_the_evidence_says_what_was_measured_and_nothing_of_the_data(passed: Passed) -> None:
    text = passed.registry.statement_path.read_text()
    statement = decode(text.encode(), "x")
    by_kind = {check.kind: check for check in statement.checks}
    assert by_kind["sql"].seen == "60"
    assert by_kind["across"].seen == by_kind["across"].expected == "20 of 20 paths"
    assert "81 rows" in by_kind["counts"].seen  # 60 + 20 and the canary's own
    wanted = {"locate", "connect", "start", "fetch", "decrypt", "restore", "check", "wipe"}
    assert {phase.phase for phase in statement.phases} == wanted
    assert statement.wiped
    assert statement.host["isolation"]
    assert "企业 1" not in text
    assert ".tif" not in text
    assert all(point.canary_at is not None for point in statement.points)


def test_nothing_is_left_of_a_drill_on_its_host(passed: Passed) -> None:
    assert not list(passed.city.sandbox.glob("d*"))
    assert marked_processes("no such mark", [passed.city.sandbox]) == []


def test_a_sqlite_system_is_drilled_too(passed: Passed) -> None:
    assert passed.portal.verdict is Verdict.PASSED, passed.portal.reasons
    assert passed.portal.rpo is not None


def test_a_store_with_a_flipped_byte_fails_the_drill(city: DrilledCity, installation: Installation) -> None:
    points = city.back_up(installation)
    damage(city, installation, points["scans"])
    outcome = run_drill(installation, REGISTRY)
    assert outcome.verdict is Verdict.FAILED
    assert outcome.verdict.label_zh == "未通过"
    assert rules(outcome) >= {Rule.NOT_RESTORED, Rule.RTO_UNMEASURED}
    assert installation.catalog.points.get(points["scans"].id).rung is Rung.WRITTEN
    assert not list(city.sandbox.glob("d*"))


def test_a_check_that_does_not_hold_fails_the_drill(city: DrilledCity) -> None:
    city.minimum = 1000
    city.write_policies()
    with city.open() as installation:
        points = city.back_up(installation)
        outcome = run_drill(installation, REGISTRY)
        assert outcome.verdict is Verdict.FAILED
        assert rules(outcome) == {Rule.CHECK_MISMATCH}
        assert installation.catalog.points.get(points["register"].id).rung is Rung.RESTORED


def test_a_row_without_its_file_fails_the_drill(city: DrilledCity, installation: Installation) -> None:
    city.sql("insert into attachment values (99, 'nowhere/李四.tif')")
    city.back_up(installation)
    outcome = run_drill(installation, REGISTRY)
    assert rules(outcome) == {Rule.CHECK_MISMATCH}
    across = outcome.checks[3].seen
    assert across is not None
    assert across.value == "20 of 21 paths"
    assert "李四" not in outcome.statement_path.read_text()


def test_a_promise_that_was_broken_fails_a_drill_whose_copy_is_good(city: DrilledCity) -> None:
    city.rto = "1s"
    city.write_policies()
    with city.open() as installation:
        points = city.back_up(installation)
        outcome = run_drill(installation, REGISTRY)
        assert rules(outcome) == {Rule.RTO_EXCEEDED}
        assert outcome.verdict is Verdict.FAILED
        assert installation.catalog.points.get(points["register"].id).rung is Rung.APP_CHECKED


def test_a_source_without_a_point_fails_and_a_system_without_any_is_not_run(
    city: DrilledCity, installation: Installation
) -> None:
    outcome = run_drill(installation, REGISTRY)
    assert outcome.verdict is Verdict.NOT_RUN
    assert installation.catalog.drills.last(REGISTRY) is not None
    assert verify_folder(installation.evidence_folder, installation.signer.public).objects == 1


def test_a_drill_host_that_does_not_answer_is_recorded_as_not_run(
    city: DrilledCity, installation: Installation
) -> None:
    points = city.back_up(installation)
    inventory = city.root / "policies" / "inventory.yaml"
    inventory.write_text(
        inventory.read_text().replace(
            "drill1: {transport: local, command: [", "drill1: {transport: local, command: [/nowhere/"
        )
    )
    installation.reload_policies()
    outcome = run_drill(installation, REGISTRY)
    assert outcome.verdict is Verdict.NOT_RUN
    assert rules(outcome) == {Rule.NOT_STARTED}
    assert installation.catalog.points.get(points["scans"].id).rung is Rung.WRITTEN


def test_a_killed_drill_host_is_recorded_and_its_sandbox_wiped_the_next_time(
    city: DrilledCity, installation: Installation
) -> None:
    city.back_up(installation)
    killed: list[int] = []

    def kill(news: Progress) -> None:
        if news.phase.startswith("check") and not killed:
            for agent in _drill_agents(city):
                killed.append(agent.pid)
                agent.kill()

    outcome = run_drill(installation, REGISTRY, on_progress=kill)
    assert killed
    assert outcome.verdict is Verdict.NOT_RUN
    assert list(city.sandbox.glob("drill-*")), "a killed agent can't wipe"
    again = run_drill(installation, REGISTRY)
    assert again.verdict is Verdict.PASSED, again.reasons
    assert not list(city.sandbox.glob("drill-*"))
    assert [each.sequence for each in list_folder(installation.evidence_folder)] == [1, 2]


def test_an_agent_that_is_told_to_stop_wipes_before_it_ends(city: DrilledCity, installation: Installation) -> None:
    city.back_up(installation)
    told: list[int] = []

    def end(news: Progress) -> None:
        if news.phase.startswith("restore") and not told:
            for agent in _drill_agents(city):
                told.append(agent.pid)
                agent.terminate()

    with pytest.raises(Interrupted):
        run_drill(installation, REGISTRY, on_progress=end)
    assert told
    wait_until(lambda: not list(city.sandbox.glob("drill-*")))
    row = installation.catalog.drills.last(REGISTRY)
    assert row is not None
    assert row.verdict == "not-run"


def test_a_drill_whose_controller_died_becomes_evidence_of_a_drill_not_run(
    city: DrilledCity, installation: Installation
) -> None:
    city.back_up(installation)
    outcome = run_drill(installation, PORTAL)
    row = installation.catalog.drills.get(outcome.id)
    installation.catalog.drills.begin(
        replace(row, id="20261101T000000Z-portal-dead", ended_at=None, verdict="", evidence="")
    )
    held = installation.evidence_folder / ".running" / "20261101T000000Z-portal-dead"
    with held.open("w") as file:  # as long as its process lives it is nobody else's to close
        fcntl.flock(file, fcntl.LOCK_EX)
        assert close_abandoned(installation, now=lambda: datetime.now(UTC)) == []
    (closed,) = close_abandoned(installation, now=lambda: datetime.now(UTC))
    assert closed.verdict is Verdict.NOT_RUN
    assert close_abandoned(installation, now=lambda: datetime.now(UTC)) == []


def test_the_negative_drill_finds_the_flipped_byte_and_proves_no_point(
    city: DrilledCity, installation: Installation
) -> None:
    points = city.back_up(installation)
    outcome = run_drill(installation, REGISTRY, negative=True)
    assert outcome.verdict is Verdict.PASSED, outcome.reasons
    assert installation.catalog.points.get(points["register"].id).rung is Rung.WRITTEN
    assert decode(outcome.statement_path.read_bytes(), "x").kind == "negative-drill"


def test_a_monthly_drill_also_restores_an_older_point_drawn_by_lot(city: DrilledCity) -> None:
    city.every = "month"
    city.write_policies()
    with city.open() as installation:
        first = city.back_up(installation)
        city.sql("insert into enterprise values (1000, '新企业')")
        city.back_up(installation)
        outcome = run_drill(installation, REGISTRY)
        assert outcome.verdict is Verdict.PASSED, outcome.reasons
        statement = decode(outcome.statement_path.read_bytes(), "x")
        (older,) = [point for point in statement.points if not point.newest]
        assert older.id in {point.id for point in first.values()}
        assert installation.catalog.points.get(older.id).rung is Rung.APP_CHECKED


def test_a_point_may_be_chosen_by_a_person_and_the_evidence_says_so(
    city: DrilledCity, installation: Installation
) -> None:
    city.back_up(installation)
    before = datetime.now(UTC).isoformat()
    city.sql("delete from enterprise where id > 55")
    city.back_up(installation)
    outcome = run_drill(installation, REGISTRY, point_choice=before)
    seen = outcome.checks[0].seen
    assert seen is not None
    assert seen.value == "60"
    assert "人工指定" in decode(outcome.statement_path.read_bytes(), "x").selection


def test_a_system_without_a_drill_in_its_policy_is_refused(city: DrilledCity, installation: Installation) -> None:
    policy = installation.policies.policies[PORTAL]
    installation.policies.policies[PORTAL] = policy.model_copy(update={"drill": None})  # type: ignore[index]
    with pytest.raises(UsageError):
        run_drill(installation, PORTAL)


# --- evidence --------------------------------------------------------------------------------------------------------


def test_evidence_verifies_with_files_and_public_key_alone_and_every_store_has_it(
    city: DrilledCity, installation: Installation
) -> None:
    city.back_up(installation)
    for _ in range(3):
        run_drill(installation, PORTAL)
    folder, public = installation.evidence_folder, installation.signer.public
    report = verify_folder(folder, public)
    assert report.good
    assert report.objects == 3
    assert {name: each.head for name, each in verify_stores(installation).items()} == {"offsite": report.head}
    assert find(folder, "2").sequence == 2
    assert len(write_missing(folder)) == 3
    assert verify_folder(folder, public).good


@pytest.mark.parametrize("harm", ["object", "statement", "remove", "swap", "forge"])
def test_harm_to_the_evidence_is_found(city: DrilledCity, installation: Installation, harm: str) -> None:
    for _ in range(3):
        run_drill(installation, PORTAL)  # not run, for want of a point: evidence all the same
    folder, public = installation.evidence_folder, installation.signer.public
    first, second, third = list_folder(folder)
    if harm == "object":
        data = bytearray(second.object_path.read_bytes())
        data[len(data) // 2] ^= 1
        second.object_path.write_bytes(data)
    elif harm == "statement":
        second.statement_path.write_text(second.statement_path.read_text().replace("not-run", "passed"))
    elif harm == "remove":
        second.object_path.unlink()
    elif harm == "swap":
        one, two = first.object_path.read_bytes(), third.object_path.read_bytes()
        first.object_path.write_bytes(two)
        third.object_path.write_bytes(one)
    else:
        statement = json.loads(second.statement_path.read_bytes())
        statement["verdict"] = "passed"
        forged = second.statement_path.with_name(f"20991231T000000Z-{'ab' * 32}.json")
        forged.write_bytes(msgspec.json.encode(statement))
    assert not verify_folder(folder, public).good


def test_a_lost_home_gets_its_chain_back_from_the_store(city: DrilledCity, installation: Installation) -> None:
    for _ in range(2):
        run_drill(installation, PORTAL)
    folder, public = installation.evidence_folder, installation.signer.public
    head = verify_folder(folder, public).head
    for each in list_folder(folder):
        each.object_path.unlink()
        each.statement_path.unlink()
    outcome = run_drill(installation, PORTAL)
    report = verify_folder(folder, public)
    assert report.good
    assert report.objects == 3
    assert outcome.evidence.previous == head.digest.hex()


def _drill_agents(city: DrilledCity) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            state = process.environ().get("DRBACKUP_AGENT_STATE")
            if state == f"{city.root}/agent-drill1" and "drbackup_agent" in process.cmdline():
                yield process
