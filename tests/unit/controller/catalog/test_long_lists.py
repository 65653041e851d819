"""Lists of the catalog are everything, in order, a page at a time; an instant and a month are found by an index."""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, insert

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.drills import Drill
from drbackup.controller.catalog.paging import PAGE_ROWS
from drbackup.controller.catalog.runs import ACTIVE, FINAL, RunKind, RunState
from drbackup.controller.catalog.tables import domains, pack_copies, packs, recoveries, recovery_steps
from drbackup.controller.restore.restore import choose_point
from drbackup.errors import PointMissing
from drbackup.system.instants import to_ns
from tests.support.cities.long_history import add_drills, add_points, add_runs

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path / "catalog.sqlite") as opened:
        yield opened


def every(step: timedelta, count: int, *, until: datetime = NOW) -> list[datetime]:
    return [until - step * number for number in range(count)]  # newest first


def test_a_point_older_than_ten_thousand_others_is_found_by_its_time(catalog: Catalog) -> None:
    dues = every(5 * MINUTE, 10_001)
    oldest = add_points(catalog, "s", "a", dues)[-1]
    assert choose_point(catalog, "s", "a", dues[-1].isoformat()).id == oldest
    with pytest.raises(PointMissing):
        choose_point(catalog, "s", "a", (dues[-1] - 2 * MINUTE).isoformat())


def test_of_several_points_the_one_with_the_youngest_data_not_after_the_instant_is_chosen(catalog: Catalog) -> None:
    dues = every(MINUTE, 10)
    ids = add_points(catalog, "s", "a", dues)
    add_points(catalog, "s", "b", every(MINUTE, 10), prefix="b")
    pinned = dues[3] - MINUTE
    assert choose_point(catalog, "s", "a", pinned.isoformat()).id == ids[3]
    assert choose_point(catalog, "s", "a", (pinned - timedelta(seconds=1)).isoformat()).id == ids[4]


def test_every_point_is_listed_once_newest_first_also_where_many_share_an_instant(catalog: Catalog) -> None:
    dues = sorted((NOW - MINUTE * (number // 700) for number in range(3 * PAGE_ROWS + 1)), reverse=True)
    ids = add_points(catalog, "s", "a", dues)
    listed = list(catalog.points.list())
    assert [point.id for point in listed] == ids
    assert {point.copies for point in listed} == {("main",)}
    for chosen in ({"system": "s"}, {"system": "s", "source": "a"}, {"store": "main"}):
        assert [point.id for point in catalog.points.list(**chosen)] == ids
    assert list(catalog.points.list(store="other")) == []
    assert [point.id for point in catalog.points.newest(7)] == ids[:7]


def test_a_list_stays_whole_while_its_reader_changes_what_it_lists(catalog: Catalog) -> None:
    """Copies are made while the list of what lacks one is read, on both sides of a page's end: none is passed over."""
    ids = add_points(catalog, "s", "a", every(MINUTE, PAGE_ROWS + 10))
    seen = []
    for point in catalog.points.lacking("s", "a", "other"):
        seen.append(point.id)
        if len(seen) > PAGE_ROWS - 10:
            catalog.points.add_copy(point.id, "other", now=NOW)
    assert seen == ids[::-1]
    assert [point.id for point in catalog.points.lacking("s", "a", "other")] == seen[: PAGE_ROWS - 10]


def test_nothing_of_the_database_is_held_between_two_rows(catalog: Catalog, tmp_path: Path) -> None:
    add_points(catalog, "s", "a", every(MINUTE, 2 * PAGE_ROWS))
    reading = catalog.points.list()
    next(reading)
    add_points(catalog, "s", "b", every(MINUTE, 10), prefix="b")
    with closing(sqlite3.connect(tmp_path / "catalog.sqlite")) as other:
        # Truncating needs every reader gone: an open view would hold the log.
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    assert len(list(reading)) >= 2 * PAGE_ROWS - 1


def test_every_run_is_listed_and_the_last_is_found(catalog: Catalog) -> None:
    ids = add_runs(catalog, "s", "a", every(MINUTE, 2 * PAGE_ROWS + 1))
    add_runs(catalog, "s", "b", every(MINUTE, 3, until=NOW + timedelta(days=1)))
    assert [run.id for run in catalog.runs.list(system="s", source="a")] == ids
    assert len(list(catalog.runs.list(kind=RunKind.BACKUP, states=[RunState.COMMITTED]))) == 2 * PAGE_ROWS + 4
    last = catalog.runs.last(RunKind.BACKUP, "s", "a", states=FINAL)
    assert last is not None
    assert last.id == ids[0]
    assert catalog.runs.last(RunKind.BACKUP, "s", "a", states=ACTIVE) is None


def test_a_month_is_its_own_rows_and_no_others(catalog: Catalog) -> None:
    begin, end = NOW - 5 * MINUTE, NOW
    runs = add_runs(catalog, "s", "a", every(MINUTE, 10))
    points = add_points(catalog, "s", "a", every(MINUTE, 10))
    for number in range(10):
        at = NOW - MINUTE * number
        catalog.drills.adopt(Drill(id=f"d{number}", system="s", kind="drill", planned_at=at, started_at=at))
    inside = range(1, 6)  # from the begin on, before the end
    assert [run.id for run in catalog.runs.between(begin, end, kind=RunKind.BACKUP, system="s")] == [
        runs[number] for number in inside
    ]
    assert [point.id for point in catalog.points.between(begin, end, system="s")] == [points[n] for n in inside]
    assert [drill.id for drill in catalog.drills.between(begin, end, system="s")] == [f"d{n}" for n in inside]
    assert catalog.points.first_commits("s") == {"a": NOW - 9 * MINUTE}
    assert catalog.runs.first_commits("s") == {"a": NOW - 9 * MINUTE}
    assert catalog.points.first_commits("nobody") == catalog.runs.first_commits("nobody") == {}


def test_a_drill_under_way_is_found_behind_thousands_that_ended(catalog: Catalog) -> None:
    add_drills(catalog, "s", every(MINUTE, 1001), under_way=1000)
    assert [drill.id for drill in catalog.drills.under_way()] == ["d1000"]
    assert len(list(catalog.drills.list())) == 1001
    assert [drill.id for drill in catalog.drills.newest(2, system="s")] == ["d0000", "d0001"]


def test_every_recovery_is_listed_with_its_own_steps(catalog: Catalog) -> None:
    with catalog.database.write() as connection:
        for number in range(PAGE_ROWS + 1):
            started = to_ns(NOW - MINUTE * number)
            row = insert(recoveries).values(id=f"r{number:04}", plan="{}", state="running", started_ns=started)
            connection.execute(row)
            for ordinal, step in enumerate(("s/b", "s/a")):
                row = insert(recovery_steps).values(recovery=f"r{number:04}", step=step, ordinal=ordinal, state="done")
                connection.execute(row)
    listed = list(catalog.recoveries.list())
    assert [recovery.id for recovery in listed] == [f"r{number:04}" for number in range(PAGE_ROWS + 1)]
    assert all([step.step for step in recovery.steps] == ["s/b", "s/a"] for recovery in listed)
    assert catalog.recoveries.get("r0500") == listed[500]


def test_every_pack_of_a_store_is_told_by_domain_and_name(catalog: Catalog) -> None:
    wanted = []
    with catalog.database.write() as connection:
        connection.execute(insert(domains), [{"id": 1, "name": "b"}, {"id": 2, "name": "a"}])
        packed = itertools.product((2, 1), ("p", "t"), range(PAGE_ROWS // 2 + 1))
        for key, (domain, kind, number) in enumerate(packed, 1):
            name = number.to_bytes(32)
            row = insert(packs).values(id=key, domain=domain, kind=kind, name=name, size=10, session="x")
            connection.execute(row)
            connection.execute(insert(pack_copies).values(pack=key, store="main", stored_ns=1))
            wanted.append(("ba"[domain - 1], kind.encode() + name))
    assert [(copy.domain, copy.pack) for copy in catalog.lifecycle.copies("main")] == wanted
    assert list(catalog.lifecycle.copies("other")) == []


@contextmanager
def statements() -> Iterator[list[tuple[str, tuple[object, ...]]]]:
    """The SELECTs that are sent to SQLite meanwhile."""
    sent: list[tuple[str, tuple[object, ...]]] = []

    def note(_connection: object, _cursor: object, statement: str, given: tuple[object, ...], *_more: object) -> None:
        if statement.startswith("SELECT"):
            sent.append((statement, given))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_no_list_reads_or_sorts_a_whole_table_for_a_page(catalog: Catalog) -> None:
    add_points(catalog, "s", "a", every(MINUTE, 2 * PAGE_ROWS))
    add_runs(catalog, "s", "a", every(MINUTE, 2 * PAGE_ROWS))
    with statements() as sent:
        list(catalog.points.list())
        list(catalog.points.list(system="s"))
        list(catalog.points.list(system="s", source="a"))
        list(catalog.points.lacking("s", "a", "other"))
        list(catalog.points.between(NOW, NOW, system="s"))
        catalog.points.at_or_before(NOW, "s", "a")
        catalog.points.newest_whole("s", "a")
        list(catalog.runs.list())
        list(catalog.runs.list(kind=RunKind.BACKUP, system="s"))
        list(catalog.runs.list(kind=RunKind.BACKUP, system="s", source="a"))
        list(catalog.runs.due(NOW))
        list(catalog.runs.between(NOW, NOW, kind=RunKind.BACKUP, system="s"))
        catalog.runs.last(RunKind.BACKUP, "s", "a", states=FINAL | ACTIVE)
        list(catalog.drills.list())
        list(catalog.drills.between(NOW, NOW, system="s"))
    assert len(sent) > 15
    with catalog.database.read() as connection:
        for statement, given in sent:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given)
            plan = [row.detail for row in rows]
            scans = [line for line in plan if re.match(r"SCAN (?!.*USING (COVERING )?INDEX)", line)]
            sorts = [line for line in plan if "TEMP B-TREE FOR ORDER BY" in line]
            assert not scans, (statement, plan)
            assert not sorts, (statement, plan)
