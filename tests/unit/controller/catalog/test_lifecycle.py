"""How packs and points grow old, on a real SQLite file: what is never offered, what is never forgotten too early."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.holder import is_here, this_process
from drbackup.controller.catalog.packs import Pack
from drbackup.controller.catalog.runs import RunKind, RunState
from drbackup.controller.catalog.sessions import SessionRow
from drbackup.controller.catalog.tables import chunks, packs
from drbackup.controller.runs.lease import lease_request
from drbackup.errors import PointMissing
from drbackup.model.collect import PackCopy
from drbackup.model.point import Rung
from drbackup.system.instants import to_ns
from drbackup.wire.messages import Place
from tests.unit.controller.catalog.test_catalog_tables import place, point

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
ONE, TWO = b"\x01" * 32, b"\x02" * 32


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path / "catalog.sqlite") as opened:
        yield opened


def add(catalog: Catalog, name: bytes, *stores: str, locked: int = 0) -> Place:
    """A data pack with one chunk, in these stores."""
    for store in stores or ("main",):
        catalog.packs.add(Pack("d", "p", name, 100, "s1"), store, [place(name, 0)], now=NOW, locked_ns=locked)
    return place(name, 0)


def one(catalog: Catalog, name: bytes, store: str = "main") -> PackCopy:
    return next(copy for copy in catalog.lifecycle.copies(store) if copy.pack == b"p" + name)


def offered(catalog: Catalog, chunk: Place, locked_ns: int = 0) -> bool:
    return catalog.packs.locate("d", "main", [chunk.id], locked_ns=locked_ns) == (chunk,)


# --- packs ------------------------------------------------------------------------------------------------------------


def test_a_copy_is_read_back_as_it_was_written(catalog: Catalog) -> None:
    add(catalog, ONE, locked=77)
    assert list(catalog.lifecycle.copies("main")) == [
        PackCopy("main", "d", b"p" + ONE, 100, to_ns(NOW), session="s1", locked_ns=77)
    ]
    assert list(catalog.lifecycle.copies("other")) == []


@pytest.mark.parametrize("change", ["condemn", "retire"])
def test_a_condemned_or_retired_pack_is_never_offered(catalog: Catalog, change: str) -> None:
    chunk, other = add(catalog, ONE), add(catalog, TWO)
    getattr(catalog.lifecycle, change)([one(catalog, ONE)], now=NOW)
    assert not offered(catalog, chunk)
    assert offered(catalog, other)
    assert catalog.lifecycle.unreliable("d", "main") == (ONE,)
    assert catalog.lifecycle.unreliable("e", "main") == ()


def test_a_chunk_that_lies_in_two_packs_is_offered_from_the_one_that_lasts(catalog: Catalog) -> None:
    twice = Place(b"\x09" * 32, ONE, 0, 0, 10, 20)
    again = Place(b"\x09" * 32, TWO, 0, 0, 10, 20)
    catalog.packs.add(Pack("d", "p", ONE, 100), "main", [twice], now=NOW)
    catalog.packs.add(Pack("d", "p", TWO, 100), "main", [again], now=NOW)
    catalog.lifecycle.retire([one(catalog, ONE)], now=NOW)
    assert catalog.packs.locate("d", "main", [twice.id]) == (again,)


def test_a_pack_is_offered_only_while_its_lock_lasts_long_enough(catalog: Catalog) -> None:
    chunk = add(catalog, ONE, locked=1000)
    assert offered(catalog, chunk, 1000)
    assert not offered(catalog, chunk, 1001)
    assert catalog.lifecycle.unreliable("d", "main", locked_ns=1001) == (ONE,)
    catalog.lifecycle.lock([one(catalog, ONE)], 2000)
    assert offered(catalog, chunk, 1001)


def test_only_condemned_packs_of_that_store_and_kind_are_named_so(catalog: Catalog) -> None:
    add(catalog, ONE, "main", "other")
    catalog.lifecycle.condemn([one(catalog, ONE)], now=NOW)
    asked = [b"p" + ONE, b"t" + ONE, b"p" + TWO]
    assert catalog.lifecycle.condemned("d", "main", asked) == (b"p" + ONE,)
    assert catalog.lifecycle.condemned("d", "other", asked) == ()
    assert catalog.lifecycle.condemned("e", "main", asked) == ()


def test_a_condemnation_keeps_its_first_instant_until_it_is_pardoned(catalog: Catalog) -> None:
    add(catalog, ONE)
    judged = one(catalog, ONE)
    catalog.lifecycle.condemn([judged], now=NOW)
    catalog.lifecycle.condemn([judged], now=NOW + HOUR)
    condemned = one(catalog, ONE)
    assert condemned.condemned_ns == to_ns(NOW)
    assert catalog.lifecycle.still_condemned([condemned]) == (condemned,)
    catalog.lifecycle.pardon([condemned])
    assert catalog.lifecycle.still_condemned([condemned]) == ()
    catalog.lifecycle.condemn([judged], now=NOW + HOUR)  # anew: it is another sentence
    assert catalog.lifecycle.still_condemned([condemned]) == ()


def test_what_only_a_listing_knows_is_known_from_its_condemnation_on(catalog: Catalog) -> None:
    add(catalog, ONE, "other")
    for pack, domain in ((b"p" + ONE, "d"), (b"p" + TWO, "d"), (b"t" + TWO, "new")):
        catalog.lifecycle.condemn([PackCopy("main", domain, pack, 50, 123, known=False)], now=NOW)
    found = {(copy.domain, copy.pack): copy for copy in catalog.lifecycle.copies("main")}
    assert set(found) == {("d", b"p" + ONE), ("d", b"p" + TWO), ("new", b"t" + TWO)}
    assert {copy.condemned_ns for copy in found.values()} == {to_ns(NOW)}
    assert found["d", b"p" + TWO].stored_ns == 123


def test_a_pack_and_its_chunks_are_forgotten_with_its_last_copy_only(catalog: Catalog) -> None:
    chunk, other = add(catalog, ONE, "main", "other"), add(catalog, TWO)

    def rows() -> tuple[int, int]:
        with catalog.database.read() as connection:
            return (
                connection.execute(select(func.count()).select_from(packs)).scalar_one(),
                connection.execute(select(func.count()).select_from(chunks)).scalar_one(),
            )

    catalog.lifecycle.erased([one(catalog, ONE)])
    assert rows() == (2, 2)
    assert catalog.packs.locate("d", "other", [chunk.id]) == (chunk,)
    catalog.lifecycle.erased([one(catalog, ONE, "other")])
    assert rows() == (1, 1)
    assert offered(catalog, other)
    catalog.lifecycle.erased([PackCopy("main", "d", b"p" + ONE, 100, 0)])  # again, after a crash
    add(catalog, ONE)
    assert offered(catalog, chunk)


# --- points -----------------------------------------------------------------------------------------------------------


def test_a_marked_point_is_in_no_list_and_can_not_be_held(catalog: Catalog) -> None:
    old, new = point(1, copies=("main", "other")), point(2)
    for each in (old, new):
        catalog.points.add(each, session="s")
    judged = list(catalog.points.list())
    assert catalog.lifecycle.mark([old], judged, now=NOW) == (old,)
    assert [each.id for each in catalog.points.list()] == [new.id]
    assert [each.id for each in catalog.points.lacking("s", "a", "third")] == [new.id]
    for word in (old.id, old.short):
        with pytest.raises(PointMissing):
            catalog.points.get(word)
    with pytest.raises(PointMissing):
        catalog.points.hold(old.id, "too late")
    (leaving,) = catalog.lifecycle.marked()
    assert (leaving.id, leaving.name, leaving.system, leaving.source) == (old.id, old.name, "s", "a")
    assert leaving.stores == ("main", "other")
    assert old.name in catalog.points.known()  # its record may still be there, and is nobody's lost point


def test_a_point_is_forgotten_with_its_last_record(catalog: Catalog) -> None:
    old, new = point(1, copies=("main", "other")), point(2)
    for each in (old, new):
        catalog.points.add(each, session="s")
    catalog.lifecycle.mark([old], catalog.points.list(), now=NOW)
    catalog.lifecycle.removed(old.id, "main")
    assert [each.stores for each in catalog.lifecycle.marked()] == [("other",)]
    catalog.lifecycle.removed(old.id, "other")
    assert catalog.lifecycle.marked() == []
    assert catalog.points.known() == {new.name}
    catalog.points.add_copy(old.id, "main", now=NOW)  # somebody saw the record a moment ago
    assert catalog.points.known() == {new.name}


def test_the_last_copy_of_a_point_that_is_not_marked_is_no_reason_to_forget_it(catalog: Catalog) -> None:
    catalog.points.add(point(1), session="s")
    catalog.lifecycle.removed(point(1).id, "main")
    assert [each.id for each in catalog.points.list()] == [point(1).id]


@pytest.mark.parametrize("change", ["hold", "climb", "fall", "newer"])
def test_nothing_is_marked_where_the_points_are_not_those_that_were_judged(catalog: Catalog, change: str) -> None:
    old, new = point(1), point(2)
    for each in (old, new):
        catalog.points.add(each, session="s")
    catalog.points.climb(new.id, Rung.APP_CHECKED, now=NOW)
    judged = list(catalog.points.list())
    if change == "hold":
        catalog.points.hold(old.id, "court order 7")
    elif change == "climb":
        catalog.points.climb(old.id, Rung.CHECKSUMMED, now=NOW)
    elif change == "fall":
        catalog.points.fall(new.id, now=NOW)
    else:
        catalog.points.add(point(3), session="s")
    assert catalog.lifecycle.mark([old], judged, now=NOW) == ()
    assert catalog.lifecycle.marked() == []
    elsewhere = point(4, system="t")
    catalog.points.add(elsewhere, session="s")
    assert catalog.lifecycle.mark([elsewhere], [*judged, elsewhere], now=NOW) == (elsewhere,)


def test_a_mark_is_taken_back_when_nothing_was_removed(catalog: Catalog) -> None:
    for each in (point(1), point(2)):
        catalog.points.add(each, session="s")
    catalog.lifecycle.mark([point(1)], catalog.points.list(), now=NOW)
    catalog.lifecycle.unmark(point(1).id)
    assert len(list(catalog.points.list())) == 2


def test_the_locks_of_records_are_known_by_store(catalog: Catalog) -> None:
    catalog.points.add(point(1, copies=("main", "other")), session="s")
    catalog.lifecycle.lock_record(point(1).id, "main", 77)
    assert catalog.lifecycle.locks() == {(point(1).id, "main"): 77, (point(1).id, "other"): 0}


# --- who may still commit ---------------------------------------------------------------------------------------------


def test_an_agent_is_busy_from_its_session_to_the_end_of_its_run(catalog: Catalog) -> None:
    claim = catalog.runs.start(RunKind.BACKUP, "s", "a", lease=lease_request(NOW))
    catalog.sessions.open(SessionRow(claim.run, claim.run, "db1", "main", NOW, None, ""))
    assert catalog.sessions.busy(since=NOW - HOUR) == {"db1": claim.run}
    assert catalog.sessions.busy(since=NOW) == {}
    catalog.sessions.close(claim.run, "ok", now=NOW)
    assert catalog.sessions.busy(since=NOW - HOUR) == {"db1": claim.run}  # it is committing
    catalog.runs.step(claim, RunState.COMMITTED, now=NOW)
    assert catalog.sessions.busy(since=NOW - HOUR) == {}


def test_a_run_that_was_taken_over_counts_until_its_process_is_gone_or_has_heard_of_it(catalog: Catalog) -> None:
    claim = catalog.runs.start(RunKind.BACKUP, "s", "a", lease=lease_request(NOW))
    catalog.runs.step(claim, RunState.CONNECTING, now=NOW, host="db1")
    assert catalog.runs.standing_still() == {"db1": claim.run}
    catalog.runs.mark_dead(now=NOW + HOUR)
    assert catalog.runs.get(claim.run).error_code == "ControllerDied"
    assert catalog.runs.standing_still() == {"db1": claim.run}
    catalog.runs.leave(claim.run, now=NOW)
    assert catalog.runs.standing_still() == {}


def test_only_a_process_that_surely_is_there_is_here() -> None:
    ours = this_process()
    assert is_here(ours)
    machine, _, start = ours.rpartition(":")
    assert not is_here(f"{machine}:{int(start) + 1}")  # its number was given to another process
    assert not is_here(f"elsewhere:{ours}")
    assert not is_here("")
