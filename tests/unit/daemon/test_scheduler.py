"""Due and missed rows, against a clock that is only a number."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.runs import Run, RunKind, RunState
from drbackup.controller.home.policies import PolicySet, load
from drbackup.controller.runs.lease import lease_request
from drbackup.daemon.scheduler import MISSED_ROWS, Scheduler, drill_schedule
from drbackup.model.schedule import dues
from tests.support.cities.long_history import add_runs
from tests.support.cities.small_city import SOURCE, SYSTEM, SmallCity

NOW = datetime(2026, 11, 23, 12, 10, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path / "catalog.sqlite") as opened:
        yield opened


def policies(root: Path, schedule: str = "every: 30m, spread: false", extra: str = "") -> PolicySet:
    city = SmallCity(root, schedule=schedule, extra=extra, sandbox=str(root))
    city.policies.mkdir(exist_ok=True)
    if not (city.policies / "levels").exists():
        city.copy_levels()
    city.write_policies()
    return load(city.policies)


def rows(catalog: Catalog) -> list[tuple[str, datetime]]:
    return sorted((str(run.state), run.due_at) for run in catalog.runs.list())


def look(scheduler: Scheduler, known: PolicySet, now: datetime) -> list[Run]:
    return scheduler.look(known, now)


def test_a_source_never_seen_waits_for_its_first_due(catalog: Catalog, tmp_path: Path) -> None:
    known, scheduler = policies(tmp_path), Scheduler(catalog, NOW)
    assert look(scheduler, known, NOW) == []
    assert scheduler.next_due() == datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
    (run,) = look(scheduler, known, NOW + HALF_HOUR)
    assert (run.system, run.source, run.state) == (SYSTEM, SOURCE, RunState.DUE)
    assert len(look(scheduler, known, NOW + HALF_HOUR)) == 1  # looked at again: the same row


def test_every_due_of_an_outage_is_a_row(catalog: Catalog, tmp_path: Path) -> None:
    known = policies(tmp_path)
    look(Scheduler(catalog, NOW), known, NOW)
    late = NOW + timedelta(hours=2)
    look(Scheduler(catalog, late), known, late)
    first = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
    assert rows(catalog) == [("due", first + 3 * HALF_HOUR), *(("missed", first + n * HALF_HOUR) for n in range(3))]
    missed = catalog.runs.list(states=[RunState.MISSED])
    assert all("no controller was running" in run.error_message for run in missed)


def test_a_very_long_outage_is_told_in_bounded_rows(catalog: Catalog, tmp_path: Path) -> None:
    known = policies(tmp_path)
    look(Scheduler(catalog, NOW), known, NOW)
    late = NOW + timedelta(days=60)
    look(Scheduler(catalog, late), known, late)
    missed = list(catalog.runs.list(states=[RunState.MISSED]))
    assert len(missed) == MISSED_ROWS + 1
    assert "earlier ones" in missed[-1].error_message


def test_the_longest_waiting_run_comes_first_however_many_are_due(catalog: Catalog, tmp_path: Path) -> None:
    waits = [NOW - timedelta(seconds=number) for number in range(1001)]
    ids = add_runs(catalog, "s", "a", waits, state=RunState.DUE)
    add_runs(catalog, "s", "later", [NOW + timedelta(seconds=1)], state=RunState.DUE)
    ready = look(Scheduler(catalog, NOW), policies(tmp_path), NOW)
    assert [run.id for run in ready] == ids[::-1]


def test_a_run_that_could_not_start_before_the_next_due_is_missed(catalog: Catalog, tmp_path: Path) -> None:
    known, scheduler = policies(tmp_path), Scheduler(catalog, NOW)
    for minutes in (0, 30, 60):
        ready = look(scheduler, known, NOW + timedelta(minutes=minutes))
    assert [run.due_at.minute for run in ready] == [0]
    (missed,) = catalog.runs.list(states=[RunState.MISSED])
    assert "later run was due" in missed.error_message


def test_a_running_one_is_not_touched_by_the_next_due(catalog: Catalog, tmp_path: Path) -> None:
    known, scheduler = policies(tmp_path), Scheduler(catalog, NOW)
    look(scheduler, known, NOW)
    (run,) = look(scheduler, known, NOW + HALF_HOUR)
    catalog.runs.claim(run.id, lease_request(NOW + HALF_HOUR))
    look(scheduler, known, NOW + 2 * HALF_HOUR)
    assert [state for state, _ in rows(catalog)] == ["claimed", "due"]


def test_a_changed_schedule_counts_from_now_and_invents_no_missed_runs(catalog: Catalog, tmp_path: Path) -> None:
    scheduler = Scheduler(catalog, NOW)
    look(scheduler, policies(tmp_path), NOW)
    late = NOW + timedelta(hours=5)
    assert look(scheduler, policies(tmp_path, "every: 20m, spread: false"), late) == []
    assert rows(catalog) == []
    assert scheduler.next_due() == datetime(2026, 11, 23, 17, 20, tzinfo=UTC)


def test_what_the_policies_no_longer_name_is_missed_not_forgotten(catalog: Catalog, tmp_path: Path) -> None:
    known, scheduler = policies(tmp_path), Scheduler(catalog, NOW)
    look(scheduler, known, NOW)
    look(scheduler, known, NOW + HALF_HOUR)
    empty = PolicySet(known.folder, {}, known.inventory, known.levels)
    assert look(scheduler, empty, NOW + HALF_HOUR) == []
    (run,) = catalog.runs.list()
    assert (run.state, run.error_message) == (RunState.MISSED, "the policies no longer name it")
    assert catalog.schedules.list() == []


@pytest.mark.parametrize(("every", "at_most"), [("day", 1.05), ("week", 7.05), ("month", 31.05), ("14d", 14.05)])
def test_drills_come_as_often_as_promised(catalog: Catalog, tmp_path: Path, every: str, at_most: float) -> None:
    extra = f"drill: {{every: {every}, on: db1.bureau, checks: [{{source: scans, files: match}}]}}\n"
    known = policies(tmp_path, extra=extra)
    schedule = drill_schedule(known.policies[SYSTEM], "Asia/Shanghai")
    assert schedule is not None
    stream = dues(schedule, SYSTEM, NOW)
    found = [next(stream) for _ in range(14)]
    gaps = [(after - before) / timedelta(days=1) for before, after in itertools.pairwise(found)]
    assert max(gaps) <= at_most
    look(Scheduler(catalog, NOW), known, NOW)
    assert catalog.schedules.get(RunKind.DRILL, SYSTEM) is not None


def test_every_store_is_read_back_every_night_at_its_own_minute(catalog: Catalog, tmp_path: Path) -> None:
    city = SmallCity(tmp_path, nightly=True)
    city.policies.mkdir(exist_ok=True)
    city.copy_levels()
    city.write_policies()
    known, scheduler = load(city.policies), Scheduler(catalog, NOW)
    look(scheduler, known, NOW)
    due = {each.source: each.next_due for each in catalog.schedules.list() if each.kind == RunKind.SCRUB}
    assert set(due) == {"main", "other"}
    assert due["main"] != due["other"]
    for night in range(3):
        ready = look(scheduler, known, NOW + timedelta(days=1 + night))
        assert sorted(run.source for run in ready if run.kind == RunKind.SCRUB) == ["main", "other"]
    at_night = [when.astimezone(ZoneInfo("Asia/Shanghai")).hour for when in due.values()]
    assert all(0 <= hour < 5 for hour in at_night)
