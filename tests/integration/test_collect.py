"""Collecting a real city's folder stores: what nothing needs goes in two phases, what anybody needs stays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta

import msgspec
import pytest
from sqlalchemy import delete

from drbackup.cli.main import run
from drbackup.controller.catalog.tables import point_copies, points
from drbackup.controller.collect.setup import collecting_alone, collector
from drbackup.controller.collect.statement import SUBJECT, CollectedStatement
from drbackup.controller.evidence import list_folder, verify_folder, verify_stores
from drbackup.controller.rebuild.keys import keys_for_rebuild
from drbackup.controller.rebuild.rebuild import rebuild
from drbackup.errors import PointMissing, RunActive, StoreUnavailable, UsageError
from drbackup.model.collect import COLLECT_GRACE, Act, Why
from drbackup.model.point import Point, Rung
from drbackup.model.retention import Ruling
from drbackup.stores.erase import Erased
from tests.support.cities.collected_city import (
    AT_LAST,
    BEGIN,
    DAY,
    LATER,
    TwoPoints,
    back_up,
    clock,
    collect,
    objects,
    packs_of,
    plan,
    records,
)
from tests.support.cities.small_city import AGENT, SYSTEM
from tests.support.doubles.faulty_store import Trouble, break_store, faulty, mend_store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> TwoPoints:
    return TwoPoints.make(tmp_path_factory.mktemp("two"))


@pytest.fixture
def two(made: TwoPoints) -> TwoPoints:
    """An old point that no rule keeps, and a new one."""
    return made.put_back()


# --- what goes --------------------------------------------------------------------------------------------------------


def test_a_plan_shows_everything_and_changes_nothing(two: TwoPoints) -> None:
    with two.city.open() as installation:
        old, new = two.old, two.new
        before = objects(installation, "main", "")
        shown = plan(installation, LATER)
        assert [decision.point.id for decision in shown.going] == [old.id]
        assert {decision.reasons[0].why for decision in shown.points if not decision.goes} == {Why.KEPT}
        assert shown.of(Act.CONDEMN)
        assert not shown.of(Act.ERASE)
        assert shown.freed == 0
        assert shown.freed_later == sum(decision.copy.size for decision in shown.of(Act.CONDEMN))
        assert objects(installation, "main", "") == before
        assert {point.id for point in installation.catalog.points.list()} == {old.id, new.id}


def test_a_whole_point_does_not_go_while_one_that_is_damaged_everywhere_stands_for_its_day(two: TwoPoints) -> None:
    with two.city.open() as installation:
        old, new = two.old, two.new
        assert [decision.point.id for decision in plan(installation, LATER).going] == [old.id]
        for store in ("main", "other"):
            installation.catalog.scrubs.judge(store, {new.id: -1}, now=LATER)
        assert installation.catalog.scrubs.lost() == {new.id}
        shown = plan(installation, LATER)
        assert not shown.going
        said = {decision.point.id: decision.reasons[0].detail for decision in shown.points}
        assert said[new.id].startswith("damaged in every copy")
        assert "damaged" not in said[old.id]


def test_a_point_that_no_rule_keeps_goes_first_its_packs_a_grace_later(two: TwoPoints) -> None:
    with two.city.open() as installation:
        old, new = two.old, two.new
        packs, wanted = objects(installation, "main"), packs_of(installation, new)
        first = collect(installation, LATER)
        assert [point.id for point in first.removed] == [old.id]
        assert records(installation, "main") == records(installation, "other") == {new.id}
        assert objects(installation, "main") == packs
        assert first.erased == 0
        with pytest.raises(PointMissing):
            installation.catalog.points.get(old.id)
        assert collect(installation, LATER + COLLECT_GRACE - timedelta(seconds=1)).erased == 0
        second = collect(installation, AT_LAST)
        assert second.erased_bytes == second.plan.freed > 0
        assert {name for name in objects(installation, "main") if "/i/" not in name} == wanted
        assert objects(installation, "other") == wanted
        assert not installation.catalog.packs.sizes(AGENT, [bytes.fromhex("70") + b"\x01" * 32])
    for store in ("main", "other"):
        assert two.city.read(new.id, store)[b"a"] == b"new" * 1000 + b"a"


def test_the_index_of_a_session_goes_with_its_last_pack(two: TwoPoints) -> None:
    with two.city.open() as installation:
        before = {name for name in objects(installation, "main") if "/i/" in name}
        collect(installation, LATER)
        collect(installation, AT_LAST)
        left = {name for name in objects(installation, "main") if "/i/" in name}
        sessions = {copy.session for copy in installation.catalog.lifecycle.copies("main")}
    assert (len(before), len(left), len(sessions)) == (2, 1, 1)


def test_a_second_collect_finds_nothing_to_do(two: TwoPoints) -> None:
    with two.city.open() as installation:
        collect(installation, LATER)
        collect(installation, AT_LAST)
        again = collect(installation, AT_LAST + DAY)
        assert again.plan.nothing_to_do
        assert (again.removed, again.erased, again.survey.notes) == ((), 0, ())


def test_what_a_crashed_session_left_goes_by_its_age_in_the_store(two: TwoPoints) -> None:
    with two.city.open() as installation:
        collect(installation, LATER)
        collect(installation, AT_LAST)
        garbage = b"a pack that nobody remembers"
        name = f"v1/d/{AGENT}/p/{hashlib.sha256(garbage).hexdigest()}"
        installation.store("main").put(name, garbage)
        assert collect(installation, BEGIN + DAY).plan.of(Act.CONDEMN) == ()
        assert [decision.copy.known for decision in collect(installation, AT_LAST).plan.of(Act.CONDEMN)] == [False]
        assert name in objects(installation, "main")
        assert collect(installation, AT_LAST + COLLECT_GRACE).erased_bytes == len(garbage)
        assert name not in objects(installation, "main")
    assert two.city.read(two.new.id)


# --- what stays -------------------------------------------------------------------------------------------------------


def test_a_held_point_and_all_its_packs_stay(two: TwoPoints) -> None:
    with two.city.open() as installation:
        old = two.old
        installation.catalog.points.hold(old.id, "court order 7")
        collect(installation, LATER)
        assert collect(installation, AT_LAST).erased == 0
    assert two.city.read(old.id, "other")[b"a"] == b"old" * 1000 + b"a"


@pytest.mark.parametrize("change", ["held", "proven", "joined"])
def test_a_system_that_changes_between_judging_and_removing_is_left_alone(two: TwoPoints, change: str) -> None:
    with two.city.open() as installation:
        old, new = two.old, two.new
        work = collector(installation, (), clock(LATER))
        judge = work.judge

        def judged(every: Sequence[Point], lost: AbstractSet[str], now: datetime) -> list[Ruling]:
            rulings = list(judge(every, lost, now))
            if change == "held":
                installation.catalog.points.hold(old.id, "court order 7")
            elif change == "proven":
                installation.catalog.points.climb(old.id, Rung.APP_CHECKED, now=LATER)
            else:
                back_up(installation, two.city, b"newest", 2)
            return rulings

        work.judge = judged
        assert work.apply().removed == ()
        assert {old.id, new.id} <= records(installation, "main")
        assert old.id in {point.id for point in installation.catalog.points.list()}


def test_nothing_goes_that_a_record_names_which_only_the_store_knows(two: TwoPoints) -> None:
    """A controller died between the commit and its own note of it."""
    with two.city.open() as installation:
        lost = two.old
        with installation.catalog.database.write() as connection:
            connection.execute(delete(point_copies).where(point_copies.c.point == lost.id))
            connection.execute(delete(points).where(points.c.id == lost.id))
        work = collector(installation, (), clock(LATER))  # without looking for it first
        assert not work.apply().plan.of(Act.CONDEMN)
        assert [point.id for point in collect(installation, LATER).removed] == [lost.id]


def test_a_record_that_can_not_be_read_keeps_everything_of_its_domain(two: TwoPoints) -> None:
    with two.city.open() as installation:
        old = two.old
        installation.catalog.points.hold(old.id, "court order 7")
        for store in ("main", "other"):
            path = two.city.root / f"store-{store}" / old.name
            path.chmod(0o600)
            path.write_bytes(b"flipped")
        report = collect(installation, LATER)
        assert not report.plan.of(Act.CONDEMN)
        assert old.name in report.survey.notes[0]


def test_a_record_damaged_in_one_store_is_read_from_the_other(two: TwoPoints) -> None:
    with two.city.open() as installation:
        old = two.old
        installation.catalog.points.hold(old.id, "court order 7")
        path = two.city.root / "store-main" / old.name
        path.chmod(0o600)
        path.write_bytes(b"flipped")
        collect(installation, LATER)
        assert collect(installation, AT_LAST).erased == 0
        assert packs_of(installation, old, "other") <= objects(installation, "main")


def test_a_store_that_is_not_collected_keeps_its_points_whole(two: TwoPoints) -> None:
    with two.city.open() as installation:
        old = two.old
        report = collect(installation, LATER, "main")
        assert report.removed == ()
        assert {reason.why for point in report.plan.points for reason in point.reasons} == {
            Why.KEPT,
            Why.ELSEWHERE,
        }
        assert collect(installation, AT_LAST, "main").erased == 0
    assert two.city.read(old.id)


def test_a_store_that_does_not_answer_ends_a_collect_before_anything_goes(two: TwoPoints) -> None:
    with two.city.open(stores=faulty) as installation:
        old = two.old
        for trouble in (Trouble("list", times=99), Trouble("put", matching="v1/e/", times=99)):
            break_store(installation, "other", trouble)
            with pytest.raises(StoreUnavailable):
                collect(installation, LATER)
            mend_store(installation, "other")
            assert old.id in {point.id for point in installation.catalog.points.list()}
            assert old.id in records(installation, "main") & records(installation, "other")


def test_a_grace_that_is_shorter_than_two_sessions_is_refused(two: TwoPoints) -> None:
    with two.city.open() as installation, pytest.raises(UsageError):
        collector(installation, (), clock(LATER), grace=timedelta(hours=47))


def test_a_home_is_collected_by_one_at_a_time(two: TwoPoints) -> None:
    with two.city.open() as installation, collecting_alone(installation), pytest.raises(RunActive):
        collect(installation, LATER)


# --- what is said -----------------------------------------------------------------------------------------------------


def test_a_signed_statement_in_every_store_names_what_was_removed_and_why(two: TwoPoints) -> None:
    with two.city.open() as installation:
        old = two.old
        collect(installation, LATER)
        (evidence,) = list_folder(installation.evidence_folder)
        assert evidence.subject == SUBJECT
        (said,) = msgspec.json.decode(evidence.statement_path.read_bytes(), type=CollectedStatement).points
        assert (said.id, said.record, said.system, said.stores) == (old.id, old.name, SYSTEM, ("main", "other"))
        assert said.reason == "no keep rule covers it: daily 1, at_least_drilled 1"
        assert verify_folder(installation.evidence_folder, installation.signer.public).good
        assert all(report.good and report.objects == 1 for report in verify_stores(installation).values())


def test_the_statement_is_in_every_store_before_the_first_record_goes(two: TwoPoints) -> None:
    with two.city.open() as installation:
        work = collector(installation, (), clock(LATER))
        for name, eraser in work.vaults.erasers.items():

            def erase(_name: str, store: str = name) -> Erased:
                assert objects(installation, "main", "v1/e/") == objects(installation, "other", "v1/e/") != set()
                raise StoreUnavailable(f"{store} breaks off here")

            eraser.erase = erase  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable, match="breaks off here"):
            work.apply()


def test_a_rebuilt_catalog_takes_no_collected_point_for_a_lost_one(two: TwoPoints) -> None:
    with two.city.open() as installation:
        last = back_up(installation, two.city, b"newest", 2)
        collect(installation, LATER)
        stores = {name: installation.store(name) for name in ("main", "other")}
    (two.city.home / "catalog.sqlite").rename(two.city.home / "lost.sqlite")
    report = rebuild(
        two.city.home, keys_for_rebuild(two.city.home, stores, None), stores, now=LATER, watch=lambda *_: None
    )
    assert report.faults == ()
    with two.city.open() as installation:
        assert [point.id for point in installation.catalog.points.list()] == [last.id]
        # What was condemned is not known any more: it is condemned anew, and the grace begins again.
        assert collect(installation, AT_LAST).erased == 0
        assert collect(installation, AT_LAST + COLLECT_GRACE).erased > 0
    assert two.city.read(last.id)


def test_the_command_shows_the_plan_and_applies_it(two: TwoPoints, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = two.old, two.new
    words = ["--home", str(two.city.home), "--policies", str(two.city.policies), "vault", "collect"]
    assert run(words) == 0
    shown = capsys.readouterr().out
    assert old.short in shown
    assert "Nothing was changed" in shown
    assert run([*words, "--apply", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["removed"] == [old.id]
    assert [point["id"] for point in document["plan"]["points"] if not point["goes"]] == [new.id]
    assert run([*words, "nowhere"]) == 2
    assert run([*words, "--grace", "1d"]) == 2
