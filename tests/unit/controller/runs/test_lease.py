"""A lease ends its own run and nobody else's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.runs import RunKind, RunState
from drbackup.controller.runs import lease as module
from drbackup.controller.runs.lease import Lease, RunStop, lease_request
from drbackup.errors import DrbackupError
from drbackup.wire.messages import Progress

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path / "catalog.sqlite") as opened:
        yield opened


def test_a_beat_behind_the_commit_stops_no_other_run(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    shared = threading.Event()
    stop = RunStop(shared)
    claim = catalog.runs.start(RunKind.BACKUP, "base", "registry", lease=lease_request(NOW))
    with Lease(catalog.runs, claim, lambda: NOW, stop):
        catalog.runs.step(claim, RunState.COMMITTED, now=NOW + timedelta(seconds=1))
        assert stop.wait(10)  # the beat has found the run settled
    assert not shared.is_set()
    assert not RunStop(shared).is_set()


def test_a_callers_stop_reaches_every_run() -> None:
    shared = threading.Event()
    runs = [RunStop(shared), RunStop(shared)]
    shared.set()
    assert all(run.is_set() for run in runs)


def test_counters_that_no_catalog_takes_end_the_run_instead_of_its_lease(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    stop = RunStop(None)
    claim = catalog.runs.start(RunKind.BACKUP, "base", "registry", lease=lease_request(NOW))
    with Lease(catalog.runs, claim, lambda: NOW, stop) as lease:
        lease.hear(Progress("sending", 2**64 - 1))  # what a lying agent may send
        assert stop.wait(10)
        with pytest.raises(DrbackupError, match="renewed"):
            lease.require()
