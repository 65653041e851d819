"""One treatment of every end a run can come to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.runs import LeaseRequest, Run, RunKind, RunState
from drbackup.controller.runs import lease
from drbackup.controller.runs.leased import Completed, LeasedRun, RunRequest, leased
from drbackup.errors import DoneInPart, DrbackupError, Interrupted, RunActive, RunLost, UsageError
from drbackup.wire.messages import Progress

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
REQUEST = RunRequest(RunKind.RESTORE, "base", "registry")


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalog]:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.01)
    with Catalog.open(tmp_path / "catalog.sqlite") as opened:
        yield opened


def now() -> datetime:
    return NOW


def last(catalog: Catalog) -> Run:
    found = catalog.runs.last(REQUEST.kind, REQUEST.system, REQUEST.source)
    assert found is not None
    return found


def taken_over(catalog: Catalog, run: LeasedRun) -> None:
    """Another controller finds our lease run out; ours hears of it."""
    later = NOW + timedelta(minutes=10)
    other = LeaseRequest("other-host:1:2:3:4", later, later + timedelta(seconds=90))
    catalog.runs.start(run.claim.kind, run.claim.system, run.claim.source, lease=other)
    assert run.stop.wait(30)


def test_a_run_that_comes_to_its_end_is_committed_with_what_it_came_to(catalog: Catalog) -> None:
    def work(run: LeasedRun) -> Completed[str]:
        run.step(RunState.CONNECTING, host="db1")
        return Completed("value", detail="all of it", content_bytes=7, entries=2)

    assert leased(catalog.runs, REQUEST, work, now=now) == "value"
    row = last(catalog)
    assert (row.state, row.host, row.content_bytes, row.entries) == (RunState.COMMITTED, "db1", 7, 2)
    assert [(step.step, step.detail) for step in catalog.runs.steps(row.id)][-1] == ("committed", "all of it")


def test_a_shortfall_is_raised_and_kept_beside_a_run_that_is_committed(catalog: Catalog) -> None:
    lacking = DoneInPart("not in store other")
    with pytest.raises(DoneInPart):
        leased(catalog.runs, REQUEST, lambda _run: Completed(1, shortfall=lacking), now=now)
    assert (last(catalog).state, last(catalog).error_code) == (RunState.COMMITTED, "DoneInPart")


def test_a_due_row_is_claimed_once_and_no_second_run_begins_beside_it(catalog: Catalog) -> None:
    due = catalog.runs.add(RunKind.RESTORE, "base", "registry", due=NOW, now=NOW)
    claimed = RunRequest(RunKind.RESTORE, "base", "registry", run=due)

    def work(run: LeasedRun) -> Completed[str]:
        assert run.id == due
        with pytest.raises(RunActive):
            leased(catalog.runs, REQUEST, lambda _run: Completed(0), now=now)
        return Completed(run.id)

    assert leased(catalog.runs, claimed, work, now=now) == due
    with pytest.raises(UsageError):
        leased(catalog.runs, claimed, work, now=now)
    assert len(list(catalog.runs.list())) == 1


def test_a_callers_stop_reaches_the_work(catalog: Catalog) -> None:
    stop = threading.Event()

    def work(run: LeasedRun) -> Completed[None]:
        assert not run.stop.is_set()
        stop.set()
        assert run.stop.is_set()
        raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        leased(catalog.runs, REQUEST, work, now=now, stop=stop)
    assert last(catalog).error_code == "Interrupted"


def test_work_that_stopped_because_its_run_was_taken_over_says_so_and_leaves_the_row_alone(catalog: Catalog) -> None:
    held: list[LeasedRun] = []

    def work(run: LeasedRun) -> Completed[None]:
        held.append(run)
        taken_over(catalog, run)
        raise Interrupted("the work was stopped while an agent was at it")

    with pytest.raises(RunLost):
        leased(catalog.runs, REQUEST, work, now=now)
    row = catalog.runs.get(held[0].id)
    assert (row.state, row.error_code) == (RunState.FAILED, "ControllerDied")
    assert [step.step for step in catalog.runs.steps(row.id)][-1] == "left"


@pytest.mark.parametrize("crash", [ValueError("a bug"), KeyboardInterrupt()])
def test_a_crash_in_a_run_that_was_taken_over_is_not_hidden(catalog: Catalog, crash: BaseException) -> None:
    held: list[LeasedRun] = []

    def work(run: LeasedRun) -> Completed[None]:
        held.append(run)
        taken_over(catalog, run)
        raise crash

    with pytest.raises(type(crash)):
        leased(catalog.runs, REQUEST, work, now=now)
    row = catalog.runs.get(held[0].id)
    assert row.error_code == "ControllerDied"
    assert [step.step for step in catalog.runs.steps(row.id)][-1] == "left"


def test_a_run_whose_lease_cannot_be_renewed_is_marked_with_the_reason(catalog: Catalog) -> None:
    def work(run: LeasedRun) -> Completed[None]:
        run.hear(Progress("sending", 2**64 - 1))  # what a lying agent may send, and no catalog takes
        assert run.stop.wait(30)
        raise Interrupted("the work was stopped while an agent was at it")

    with pytest.raises(DrbackupError, match="renewed"):
        leased(catalog.runs, REQUEST, work, now=now)
    row = last(catalog)
    assert (row.state, row.error_code) == (RunState.FAILED, "DrbackupError")
    assert "renewed" in row.error_message
