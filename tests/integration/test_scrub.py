"""A scrub reads a store back: all of it or a day's share, at most so fast, killed at any moment; damage is named."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from drbackup.controller.catalog.packs import Pack
from drbackup.controller.copies.read_back import readers_for
from drbackup.controller.copies.scrub import ScrubReport, ScrubRequest, scrub
from drbackup.controller.home.installation import Installation
from drbackup.errors import Interrupted, StoreUnavailable, UsageError, VaultMissing
from drbackup.model.point import Rung
from drbackup.reports.overview import judge, recall
from drbackup.vault.layout import VAULT_NAME, pack_name
from tests.support.cities.small_city import AGENT, SOURCE, SYSTEM, SmallCity
from tests.support.cities.twin_city import HARMS, Clock, both, build, copy, flip, name_of, objects
from tests.support.doubles.faulty_store import Kind, Trouble, break_store, faulty

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> SmallCity:
    return build(tmp_path_factory.mktemp("twin"))


@pytest.fixture
def city(template: SmallCity, tmp_path: Path) -> SmallCity:
    return copy(template, tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def slice_of(installation: Installation, days: float, clock: Clock, **more: object) -> ScrubReport:
    return scrub(installation, "main", ScrubRequest(within=days * DAY, **more), now=clock)  # type: ignore[arg-type]


def add_packs(installation: Installation, clock: Clock, count: int, size: int = 1000) -> list[str]:
    """Packs that a session stored and no record names yet."""
    names = []
    for number in range(count):
        data = number.to_bytes(4, "big") * (size // 4)
        digest = hashlib.sha256(data).digest()
        names.append(pack_name(AGENT, "p", digest))
        installation.store("main").put(names[-1], data)
        installation.catalog.packs.add(Pack(AGENT, "p", digest, len(data)), "main", (), now=clock())
    return names


def test_everything_is_read_and_every_point_climbs(city: SmallCity, clock: Clock) -> None:
    with city.open() as installation:
        report = scrub(installation, "main", now=clock)
        packs = list(objects(city, "main", "v1/d/"))
        assert (report.good, report.packs, report.records) == (True, len(packs), 2)
        assert sorted(report.proven) == sorted(both(installation))
        assert report.bytes >= sum(path.stat().st_size for path in packs)
        assert (report.coverage.packs_read, report.coverage.bytes_read) == (len(packs), report.coverage.bytes)
        assert {point.rung for point in installation.catalog.points.list()} == {Rung.CHECKSUMMED}


def test_what_was_read_and_found_damaged_counts_as_read(city: SmallCity, clock: Clock) -> None:
    with city.open() as installation:
        whole = scrub(installation, "main", now=clock)
        flip(next(objects(city, "main", "/p/")))
        report = scrub(installation, "main", now=clock)
        assert len(report.damages) == 1
        assert (report.packs, report.bytes) == (whole.packs, whole.bytes)


def test_a_copy_that_was_not_read_is_not_called_read(city: SmallCity, clock: Clock) -> None:
    with city.open() as installation:
        scrub(installation, "main", now=clock)
        for point in both(installation):
            read = installation.catalog.scrubs.of_point(point)
            assert read["main"] is not None
            assert read["other"] is None
        coverage = installation.catalog.scrubs.coverage("other", now=clock(), within=DAY)
        assert (coverage.packs_read, coverage.oldest_read) == (0, False)


PARTS = ["/p/", "/t/", "v1/r/", "v1/c/", "v1/vault"]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("harm", HARMS)
def test_every_kind_of_damage_to_every_kind_of_object_is_named(
    city: SmallCity, clock: Clock, part: str, harm: str
) -> None:
    victim = next(objects(city, "main", part))
    HARMS[harm](victim)
    with city.open() as installation:
        report = scrub(installation, "main", now=clock)
        if (part, harm) == ("v1/c/", "deleted"):
            return  # nothing tells how many there were; drbackup check asks for one, and repair compares the stores
        (damage,) = report.damages
        assert damage.name == name_of(city, "main", victim)
        needs_points = part in ("/p/", "/t/", "v1/r/")
        assert bool(damage.points) == needs_points
        fallen = {point.id for point in installation.catalog.points.list() if point.rung is Rung.WRITTEN}
        assert fallen == set(damage.points)
        assert set(report.proven) == set(both(installation)) - fallen
        again = scrub(installation, "main", now=clock)  # it is not forgotten that it is damaged
        assert [each.name for each in again.damages] == [damage.name]


def test_a_point_with_one_damaged_copy_does_not_climb_by_the_other(city: SmallCity, clock: Clock) -> None:
    flip(next(objects(city, "other", "/p/")))
    with city.open() as installation:
        hurt = set(scrub(installation, "other", now=clock).damages[0].points)
        report = scrub(installation, "main", now=clock)
        assert hurt <= set(report.proven)
        rungs = {point.id: point.rung for point in installation.catalog.points.list()}
        assert {point for point, rung in rungs.items() if rung is Rung.WRITTEN} == hurt
        assert installation.catalog.scrubs.damaged_points() == dict.fromkeys(hurt, frozenset({"other"}))


def test_a_store_that_went_away_midway_is_not_called_damaged(city: SmallCity, clock: Clock) -> None:
    """Its disk is unmounted: an empty folder is left."""
    with city.open(stores=faulty) as installation:
        gone = Trouble("check", at=3, kind="call", action=lambda _: shutil.rmtree(city.root / "store-main" / "v1"))
        break_store(installation, "main", gone)
        with pytest.raises(StoreUnavailable, match="went away"):
            scrub(installation, "main", now=clock)
        assert installation.catalog.scrubs.damaged_points() == {}
        assert installation.catalog.packs.has(
            AGENT, "p", bytes.fromhex(next(objects(city, "other", "/p/")).name), "main"
        )
        with pytest.raises(VaultMissing):  # and an empty store is none that lost everything
            scrub(installation, "main", now=clock)


def test_a_damaged_description_is_named_and_the_rest_is_read(city: SmallCity, clock: Clock) -> None:
    flip(city.root / "store-main" / VAULT_NAME)
    with city.open() as installation:
        report = scrub(installation, "main", now=clock)
        assert [each.name for each in report.damages] == [VAULT_NAME]
        assert len(report.proven) == 2


# --- rolling ----------------------------------------------------------------------------------------------------------


def test_slices_read_every_byte_within_the_days_and_new_points_soon(city: SmallCity, clock: Clock) -> None:
    with city.open() as installation:
        add_packs(installation, clock, 20)
        total = len(installation.catalog.scrubs.copies("main"))
        seen = 0
        for _ in range(5):
            report = slice_of(installation, 5, clock)
            assert 0 < report.packs < total
            seen += report.packs
            clock.passes(days=1)
        assert seen >= total
        assert all(copy.read_at is not None for copy in installation.catalog.scrubs.copies("main"))
        assert set(report.proven) == set(both(installation))
        assert {point.rung for point in installation.catalog.points.list()} == {Rung.CHECKSUMMED}
        clock.passes(days=30)  # nobody read for a month: the next slice reads it all
        assert slice_of(installation, 5, clock).packs == total


def test_a_point_climbs_with_its_last_pack_and_is_as_old_as_its_first(city: SmallCity, clock: Clock) -> None:
    with city.open() as installation:
        first_read = None
        for _ in range(60):
            report = slice_of(installation, 60, clock)
            first_read = first_read or clock.at
            if len(report.proven) == 2:
                break
            clock.passes(hours=1)
        for point in installation.catalog.points.list():
            assert point.rung is Rung.CHECKSUMMED
            assert point.rung_at is not None
            assert point.rung_at <= clock.at - timedelta(hours=1)
        assert min(point.rung_at for point in installation.catalog.points.list() if point.rung_at) <= first_read


def test_a_point_that_is_damaged_in_all_its_copies_protects_nothing(city: SmallCity, clock: Clock) -> None:
    with city.open() as installation:
        older, newer = both(installation)
        policies = list(installation.policies.policies.values())
        last = {record_of(city, store, newer) for store in ("main", "other")}
        for number, path in enumerate(sorted(last)):
            assert recall(installation.catalog, policies).newest[SYSTEM, SOURCE].id == newer
            HARMS["deleted" if number else "flipped"](path)
            scrub(installation, path.relative_to(city.root).parts[0].removeprefix("store-"), now=clock)
        memory = recall(installation.catalog, policies)
        assert memory.newest[SYSTEM, SOURCE].id == older
        (wounded,) = memory.damaged[SYSTEM, SOURCE]
        assert (wounded.point, wounded.damaged, wounded.others) == (newer, ("main", "other"), ())
        overview = judge("city", policies, memory, clock())
        assert overview.systems[0].sources[0].newest == memory.newest[SYSTEM, SOURCE]
        assert overview.lost == 1


def record_of(city: SmallCity, store: str, point: str) -> Path:
    (found,) = objects(city, store, point)
    return found


def test_damage_found_by_a_slice_is_named_by_every_later_one(city: SmallCity, clock: Clock) -> None:
    victim = next(objects(city, "main", "/p/"))
    flip(victim)
    with city.open() as installation:
        while not slice_of(installation, 10, clock).damages:
            clock.passes(days=1)
        for _ in range(3):
            clock.passes(days=1)
            (damage,) = slice_of(installation, 10, clock).damages
            assert damage.name == name_of(city, "main", victim)
            assert "before" in damage.why
            assert damage.points


def test_what_a_collector_took_meanwhile_is_no_damage(city: SmallCity, clock: Clock) -> None:
    with city.open(stores=faulty) as installation:
        (name,) = add_packs(installation, clock, 1)
        packs = installation.catalog.packs

        def collect(_: str) -> None:
            (city.root / "store-main" / name).unlink(missing_ok=True)
            packs.forget(AGENT, "main", [("p", bytes.fromhex(name[-64:]))])

        break_store(installation, "main", Trouble("check", matching=name, kind="call", action=collect))
        assert scrub(installation, "main", now=clock).good


def test_an_age_leaves_out_what_was_read_since(city: SmallCity, clock: Clock) -> None:
    with city.open() as installation:
        whole = scrub(installation, "main", now=clock).packs
        clock.passes(hours=1)
        names = add_packs(installation, clock, 3)
        again = scrub(installation, "main", ScrubRequest(unread_for=timedelta(hours=2)), now=clock)
        assert again.packs == len(names)
        clock.passes(hours=2)
        assert scrub(installation, "main", ScrubRequest(unread_for=timedelta(hours=2)), now=clock).packs == whole + 3
        with pytest.raises(UsageError):
            ScrubRequest(within=DAY, unread_for=DAY)


# --- killed, stopped, slowed down -------------------------------------------------------------------------------------

READER = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from drbackup.controller.copies import scrub
from drbackup.controller.home.installation import Installation
from drbackup.stores.folder.store import DirectoryStore

left, scrub._NOTE_SECONDS = int(sys.argv[3]), 0.0
real = DirectoryStore.check

def check(self, name):
    global left
    left -= "/p/" in name
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, name)

DirectoryStore.check = check
scrub.readers_for = lambda _: 1
with Installation.open(Path(sys.argv[1]), Path(sys.argv[2])) as installation:
    scrub.scrub(installation, "main", now=lambda: datetime.now(UTC))
"""


def test_a_scrub_killed_at_any_moment_goes_on_where_it_was(city: SmallCity, clock: Clock) -> None:
    with city.open() as installation:
        add_packs(installation, clock, 30)
    words = [sys.executable, "-c", READER, str(city.home), str(city.policies)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    read_before = 0
    for _ in range(3):
        died = subprocess.run([*words, "9"], env=environment, capture_output=True, timeout=120, check=False)
        assert died.returncode == -signal.SIGKILL, died.stderr.decode()
        with city.open() as installation:
            read = sum(1 for copy in installation.catalog.scrubs.copies("main") if copy.read_at)
        # a full scrub begins with what was never read, so each goes on where the last was killed
        assert read >= read_before + 3
        read_before = read


def test_a_stop_ends_it_soon_and_what_was_read_is_remembered(city: SmallCity, clock: Clock) -> None:
    stop = threading.Event()
    with city.open() as installation:
        add_packs(installation, clock, 30, size=100_000)

        def watch(done: int, total: int, _bytes: int) -> None:
            if done == 5:
                stop.set()

        with pytest.raises(Interrupted):
            scrub(installation, "main", ScrubRequest(stop=stop, watch=watch), now=clock)
        read = sum(1 for copy in installation.catalog.scrubs.copies("main") if copy.read_at)
        assert 5 <= read < 30


class Fed(threading.Event):
    """Stops who has looked often: oftener than once before each object."""

    looks = 0

    def is_set(self) -> bool:
        self.looks += 1
        return self.looks > 60


@pytest.mark.parametrize("rate", [0, 1])
def test_a_rate_is_kept_and_a_stop_ends_the_waiting_for_it(city: SmallCity, clock: Clock, rate: int) -> None:
    """At a byte a second nobody reads a second object before tomorrow."""
    with city.open(stores=faulty) as installation:
        add_packs(installation, clock, 10)
        store = break_store(installation, "main")
        request = ScrubRequest(rate=rate, stop=Fed())
        if rate:
            with pytest.raises(Interrupted):
                scrub(installation, "main", request, now=clock)
            assert store.counts["check"] <= readers_for(installation.inventory.stores["main"])
        else:
            assert scrub(installation, "main", request, now=clock).packs > 10  # without a rate nobody looks so often


@pytest.mark.parametrize("kind", ["unavailable", "refused"])
def test_a_store_that_does_not_answer_is_neither_good_nor_damaged(city: SmallCity, clock: Clock, kind: Kind) -> None:
    with city.open(stores=faulty) as installation:
        break_store(installation, "main", Trouble("check", at=4, kind=kind, times=100))
        with pytest.raises((StoreUnavailable, Exception), match="made to"):
            scrub(installation, "main", now=clock)
        assert installation.catalog.scrubs.damaged_points() == {}
        assert {point.rung for point in installation.catalog.points.list()} == {Rung.WRITTEN}
