"""The catalog's subjects, one by one, on a real SQLite file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.drills import Drill
from drbackup.controller.catalog.holder import is_gone, this_process
from drbackup.controller.catalog.packs import Pack
from drbackup.controller.catalog.recoveries import Recovery, RecoveryStep
from drbackup.controller.catalog.runs import Counters, RunKind, RunState
from drbackup.controller.runs.lease import lease_request
from drbackup.errors import DrbackupError, PointMissing, StoreFull, UsageError
from drbackup.model.point import Point, Rung, Totals
from drbackup.system.instants import from_ns, to_ns
from drbackup.wire.messages import Place

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path / "catalog.sqlite") as opened:
        yield opened


def point(number: int, **more: object) -> Point:
    identity = hashlib.sha256(bytes([number])).hexdigest()
    when = NOW + timedelta(minutes=number)
    made = Point(
        id=identity,
        name=f"v1/r/s/{identity}",
        system="s",
        source="a",
        domain="d",
        kind="files",
        pinned_at=when - timedelta(seconds=5),
        committed_at=when,
        totals=Totals(entries=1, files=1, rows=-1, bytes=100, new_bytes=50, stored_bytes=20),
        rung_at=when,
        copies=("main",),
    )
    return replace(made, **more)  # type: ignore[arg-type]


def place(pack: bytes, number: int) -> Place:
    return Place(hashlib.sha256(pack + bytes([number])).digest(), pack, number, number * 10, 10, 20)


# --- instants ---


def test_an_instant_survives_the_catalog_to_the_microsecond() -> None:
    instant = NOW + timedelta(microseconds=123456)
    assert from_ns(to_ns(instant)) == instant
    with pytest.raises(ValueError, match="time zone"):
        to_ns(datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test


# --- runs ---


def test_a_failed_run_keeps_everything_its_error_says(catalog: Catalog) -> None:
    claim = catalog.runs.start(RunKind.BACKUP, "s", "a", lease=lease_request(NOW))
    catalog.runs.renew(claim, until=NOW, counters=Counters("sending", 7, 3, 2))
    catalog.runs.fail(claim, StoreFull("no room", host="h", where="v1/x"), now=NOW)
    run = catalog.runs.get(claim.run)
    assert (run.error_code, run.error_message, run.error_where) == ("StoreFull", "no room", "h: v1/x")
    assert "free or add space" in run.error_hint
    assert (run.content_bytes, run.stored_bytes, run.entries, run.phase) == (7, 3, 2, "sending")
    assert run.ended_at == NOW
    assert not run.active


def test_only_a_due_run_can_be_claimed(catalog: Catalog) -> None:
    run = catalog.runs.add(RunKind.BACKUP, "s", "a", due=NOW, now=NOW)
    claim = catalog.runs.claim(run, lease_request(NOW))
    catalog.runs.fail(claim, DrbackupError("x"), now=NOW)
    for name in (run, "nobody"):
        with pytest.raises(UsageError):
            catalog.runs.claim(name, lease_request(NOW))


def test_sources_do_not_wait_for_each_other(catalog: Catalog) -> None:
    catalog.runs.start(RunKind.BACKUP, "s", "a", lease=lease_request(datetime.now(UTC)))
    catalog.runs.start(RunKind.BACKUP, "s", "b", lease=lease_request(datetime.now(UTC)))
    catalog.runs.start(RunKind.RESTORE, "s", "a", lease=lease_request(datetime.now(UTC)))
    assert len(list(catalog.runs.list(states=[RunState.CLAIMED]))) == 3


def test_a_holder_is_gone_only_when_that_is_certain() -> None:
    mine = this_process()
    assert not is_gone(mine)
    assert is_gone(mine + "1")  # the same number, another process
    assert not is_gone(mine.replace(mine.split(":")[1], "otherboot"))
    assert not is_gone("")


# --- points ---


def test_points_are_found_by_a_beginning_of_their_id_and_by_latest(catalog: Catalog) -> None:
    for number in (1, 2):
        catalog.points.add(point(number), session="x", previous="")
    assert catalog.points.get("latest", system="s") == point(2)
    assert catalog.points.get(point(1).short) == point(1)
    for word in ("ffffffffffff", "a", ""):
        with pytest.raises(PointMissing):
            catalog.points.get(word)
    with pytest.raises(PointMissing):
        catalog.points.get("latest", system="nobody")


def test_rungs_only_rise(catalog: Catalog) -> None:
    catalog.points.add(point(1), session="x")
    catalog.points.climb(point(1).id, Rung.RESTORED, now=NOW)
    catalog.points.climb(point(1).id, Rung.CHECKSUMMED, now=NOW)
    known = catalog.points.get(point(1).id)
    assert (known.rung, known.rung_at) == (Rung.RESTORED, NOW)


def test_a_held_point_says_why(catalog: Catalog) -> None:
    catalog.points.add(point(1), session="x")
    catalog.points.hold(point(1).id, "court order")
    assert catalog.points.get(point(1).id).held == "court order"
    with pytest.raises(PointMissing):
        catalog.points.hold("nobody", "why")


def test_points_that_lack_a_copy_come_oldest_first(catalog: Catalog) -> None:
    for number in (3, 1, 2):
        catalog.points.add(point(number), session="x")
    catalog.points.add_copy(point(2).id, "other", now=NOW)
    assert [each.id for each in catalog.points.lacking("s", "a", "other")] == [point(1).id, point(3).id]


def test_adding_a_point_again_adds_only_new_copies(catalog: Catalog) -> None:
    catalog.points.add(point(1), session="x")
    catalog.points.add(point(1, copies=("main", "other")), session="y")
    assert catalog.points.get(point(1).id).copies == ("main", "other")
    written = catalog.points.of_session("x", "s", "a")
    assert written is not None
    assert written.id == point(1).id
    assert catalog.points.of_session("y", "s", "a") is None


# --- packs ---


def test_chunks_are_located_only_in_packs_that_this_store_has(catalog: Catalog) -> None:
    name = bytes(32)
    places = [place(name, number) for number in range(200)]
    catalog.packs.add(Pack("d", "p", name, 999), "main", places, now=NOW)
    ids = [each.id for each in places]
    assert set(catalog.packs.locate("d", "main", [*ids, b"?" * 32])) == set(places)
    assert catalog.packs.locate("d", "other", ids) == ()
    assert catalog.packs.locate("another-domain", "main", ids) == ()
    catalog.packs.add_copies("d", "other", [b"p" + name], now=NOW)
    assert set(catalog.packs.locate("d", "other", ids)) == set(places)
    catalog.packs.forget("d", "main", [("p", name)])
    assert catalog.packs.locate("d", "main", ids) == ()
    assert catalog.packs.has("d", "p", name, "other")
    assert not catalog.packs.has("d", "p", name, "main")
    assert catalog.packs.sizes("d", [b"p" + name, b"t" + name]) == {b"p" + name: 999}


def test_a_pack_added_twice_is_one_pack(catalog: Catalog) -> None:
    name = b"\x01" * 32
    for store in ("main", "main", "other"):
        catalog.packs.add(Pack("d", "p", name, 10), store, [place(name, 1)], now=NOW)
    assert len(catalog.packs.locate("d", "main", [place(name, 1).id])) == 1


# --- drills and recoveries ---


def test_a_drill_comes_back_as_it_was_written(catalog: Catalog) -> None:
    begun = Drill("d1", "s", "drill", NOW, NOW)
    catalog.drills.begin(begun)
    assert catalog.drills.last("s") is None  # under way is not an outcome
    ended = replace(begun, ended_at=NOW, verdict="通过", points=("a", "b"), rto_seconds=12.5, findings=("x",))
    catalog.drills.end(ended)
    assert catalog.drills.get("d1") == catalog.drills.last("s") == ended
    with pytest.raises(UsageError):
        catalog.drills.end(replace(ended, id="d2"))


def test_a_recovery_remembers_each_step(catalog: Catalog) -> None:
    steps = tuple(RecoveryStep(name, number, "waiting") for number, name in enumerate(("net", "base")))
    catalog.recoveries.begin(Recovery("r1", "{}", "running", NOW, steps=steps))
    catalog.recoveries.step("r1", RecoveryStep("net", 0, "done", NOW, NOW))
    catalog.recoveries.state("r1", "failed", ended_at=NOW)
    known = catalog.recoveries.get("r1")
    assert [step.state for step in known.steps] == ["done", "waiting"]
    assert known.state == "failed"
    with pytest.raises(UsageError):
        catalog.recoveries.get("r2")
