"""The daemon reads a share of every store back each night and brings every store what it lacks, without being asked."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from drbackup.controller.catalog.runs import RunKind, RunState
from drbackup.controller.copies.catch_up import lacking
from drbackup.controller.home.installation import Installation
from drbackup.daemon.daemon import Daemon
from drbackup.daemon.scheduler import VAULT
from drbackup.model.point import Rung
from tests.support.cities.small_city import SmallCity
from tests.support.cities.twin_city import FIRST, SECOND, Clock, both, build, copy, flip, objects, read
from tests.support.doubles.faulty_store import Trouble, break_store, faulty, mend_store

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> SmallCity:
    """The policy names one store only."""
    return build(tmp_path_factory.mktemp("alone"), copies="main")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def night(installation: Installation, clock: Clock) -> int:
    """A daemon that was started yesterday looks again; how many runs failed."""
    daemon = Daemon(installation, 2, clock)
    daemon.tick()
    clock.passes(hours=25)
    return daemon.once()


def scrubs(installation: Installation, state: RunState) -> dict[str, str]:
    """Store → its run's error."""
    runs = installation.catalog.runs.list(kind=RunKind.SCRUB, system=VAULT, states=[state])
    return {run.source: run.error_code for run in runs}


def test_every_night_a_share_of_every_store_is_read_back(alone: SmallCity, tmp_path: Path, clock: Clock) -> None:
    city = copy(alone, tmp_path, nightly=True)
    inventory = city.policies / "inventory.yaml"
    inventory.write_text(inventory.read_text().replace("store-main}}", "store-main}, scrub: {within: 3d, rate: 0}}"))
    with city.open() as installation:
        assert night(installation, clock) == 0
        assert scrubs(installation, RunState.COMMITTED) == {"main": "", "other": ""}
        coverage = installation.catalog.scrubs.coverage("main", now=clock(), within=DAY)
        assert 0 < coverage.packs_read <= coverage.packs
        first = {copy.number for copy in installation.catalog.scrubs.copies("main")}
        night(installation, clock)
        night(installation, clock)
        read_at = {copy.number: copy.read_at for copy in installation.catalog.scrubs.copies("main")}
        assert all(read_at[number] for number in first)  # within three days, whatever came in between
        assert Rung.CHECKSUMMED in {point.rung for point in installation.catalog.points.list()}


def test_damage_found_at_night_fails_the_run_and_is_never_silent(
    alone: SmallCity, tmp_path: Path, clock: Clock
) -> None:
    city = copy(alone, tmp_path, nightly=True)
    for pack in list(objects(city, "main", "/t/")):
        flip(pack)
    inventory = city.policies / "inventory.yaml"
    inventory.write_text(inventory.read_text().replace("store-main}}", "store-main}, scrub: {within: 1d, rate: 0}}"))
    with city.open() as installation:
        assert night(installation, clock) >= 1
        assert scrubs(installation, RunState.FAILED) == {"main": "ObjectCorrupt"}
        (run,) = installation.catalog.runs.list(kind=RunKind.SCRUB, states=[RunState.FAILED])
        assert run.error_hint == "drbackup vault repair main"


def test_a_store_that_a_policy_names_later_is_filled_by_the_daemon(
    alone: SmallCity, tmp_path: Path, clock: Clock
) -> None:
    city = copy(alone, tmp_path, copies="main, other", nightly=True)
    with city.open() as installation:
        points = both(installation)
        Daemon(installation, 2, clock).catch_up()
        assert lacking(installation, "other") == []
    assert [read(city, point, "other") for point in points] == [FIRST, SECOND]


def test_a_store_that_is_away_neither_stops_the_daemon_nor_loses_its_points(
    alone: SmallCity, tmp_path: Path, clock: Clock
) -> None:
    city = copy(alone, tmp_path, copies="main, other", nightly=True)
    with city.open(stores=faulty) as installation:
        break_store(installation, "other", Trouble("any", times=10_000))
        daemon = Daemon(installation, 2, clock)
        daemon.catch_up()
        assert len(lacking(installation, "other")) == 2
        mend_store(installation, "other")
        daemon.catch_up()
        assert lacking(installation, "other") == []


def test_a_store_that_is_not_to_be_read_at_night_is_not(alone: SmallCity, tmp_path: Path, clock: Clock) -> None:
    city = copy(alone, tmp_path, nightly=True)
    inventory = city.policies / "inventory.yaml"
    words = inventory.read_text()
    inventory.write_text(words.replace("store-other}}", "store-other}, scrub: {nightly: false}}"))
    assert inventory.read_text() != words
    with city.open() as installation:
        night(installation, clock)
        assert scrubs(installation, RunState.COMMITTED) == {"main": ""}
