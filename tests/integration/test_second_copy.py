"""Two stores, and a third one later: whatever was away, damaged or killed, each gets every point, and none is lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import delete

from drbackup.controller.backup import commit
from drbackup.controller.catalog.runs import RunKind, RunState
from drbackup.controller.catalog.tables import point_copies
from drbackup.controller.copies.catch_up import catch_up, lacking
from drbackup.controller.copies.scrub import scrub
from drbackup.controller.home.initialise import extend
from drbackup.errors import DoneInPart, Interrupted, ObjectCorrupt, ObjectMissing, PacksMissing, VaultMissing
from tests.support.cities.small_city import SOURCE, SYSTEM, SmallCity
from tests.support.cities.twin_city import (
    FIRST,
    HARMS,
    SECOND,
    Clock,
    both,
    build,
    contents,
    copy,
    cut,
    flip,
    objects,
    read,
)
from tests.support.doubles.faulty_store import Trouble, break_store, faulty, mend_store
from tests.support.runs import run_backup

THIRD = "  third: {{directory: {{path: {root}/store-third}}}}\n"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> SmallCity:
    return build(tmp_path_factory.mktemp("twin"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> SmallCity:
    """The policy names one store only: "other" has a vault and no point."""
    return build(tmp_path_factory.mktemp("alone"), copies="main")


@pytest.fixture
def city(template: SmallCity, tmp_path: Path) -> SmallCity:
    return copy(template, tmp_path)


@pytest.fixture
def behind(alone: SmallCity, tmp_path: Path) -> SmallCity:
    """The policy has just been extended by "other"."""
    return copy(alone, tmp_path, copies="main, other")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def with_third(template: SmallCity, root: Path) -> SmallCity:
    city = copy(template, root, copies="main, other, third", stores=THIRD.format(root=root))
    with city.open() as installation:
        extend(installation, now=Clock()())
    return city


def whole(city: SmallCity, store: str, points: tuple[str, str]) -> bool:
    return read(city, points[0], store) == FIRST and read(city, points[1], store) == SECOND


# --- without a new backup -------------------------------------------------------------------------------------------


def test_a_store_that_is_named_later_gets_the_earlier_points_without_a_new_backup(
    behind: SmallCity, clock: Clock
) -> None:
    with behind.open() as installation:
        points = both(installation)
        assert [point.id for point in lacking(installation, "other")] == list(points)
        (result,) = catch_up(installation, now=clock)
        assert (result.store, result.good, [each.id for each in result.copied]) == ("other", True, list(points))
        assert lacking(installation, "other") == []
        assert catch_up(installation, now=clock) == ()
        assert scrub(installation, "other", now=clock).proven == tuple(sorted(points))
    assert whole(behind, "other", points)


def test_a_third_store_is_filled_from_whatever_store_has_each_object_whole(
    template: SmallCity, tmp_path: Path, clock: Clock
) -> None:
    """Half of the packs are damaged in one store, the other half in the other."""
    city = with_third(template, tmp_path)
    packs = list(objects(city, "main", "v1/d/"))
    for number, path in enumerate(objects(city, "main", "v1/d/")):
        twin = city.root / "store-other" / path.relative_to(city.root / "store-main")
        if twin.exists():
            flip(path if number % 2 else twin)
    records = list(objects(city, "main", "v1/r/"))
    records[0].unlink()
    with city.open() as installation:
        points = both(installation)
        (result,) = catch_up(installation, now=clock)
        assert result.good
        assert scrub(installation, "third", now=clock).proven == tuple(sorted(points))
    assert len(packs) > 3
    assert whole(city, "third", points)


def test_a_point_that_no_store_has_whole_keeps_no_other_one_out(
    template: SmallCity, tmp_path: Path, clock: Clock
) -> None:
    city = with_third(template, tmp_path)
    with city.open() as installation:
        older, newer = both(installation)
        record = installation.catalog.points.get(older).name
        for store in ("main", "other"):
            (city.root / f"store-{store}" / record).unlink()
        (result,) = catch_up(installation, now=clock)
        assert [point.id for point in result.copied] == [newer]
        assert isinstance(result.behind[older], ObjectMissing)
        (city.data / "d").write_bytes(b"delta")
        newest = run_backup(installation, SYSTEM, SOURCE, now=clock)
        assert newest.copies == ("main", "other", "third")
    assert read(city, newest.id, "third") == {**SECOND, b"d": b"delta"}


def test_a_store_without_a_vault_is_not_written_to(behind: SmallCity, clock: Clock) -> None:
    (behind.root / "store-other" / "v1" / "vault").unlink()
    before = contents(behind, "other")
    with behind.open() as installation:
        (result,) = catch_up(installation, now=clock)
        assert isinstance(result.away, VaultMissing)
    assert contents(behind, "other") == before


def test_a_store_that_is_away_is_asked_once_and_the_others_go_on(
    template: SmallCity, tmp_path: Path, clock: Clock
) -> None:
    city = with_third(template, tmp_path)
    with city.open(stores=faulty) as installation:
        away = break_store(installation, "main", Trouble("any", times=10_000))
        (result,) = catch_up(installation, now=clock)
        assert result.good
        assert len(result.copied) == 2
        assert sum(away.counts.values()) <= 4  # for the points, and for evidence
        points = both(installation)
    assert whole(city, "third", points)


def test_days_without_a_store_are_caught_up_in_the_order_of_the_chain(tmp_path: Path, clock: Clock) -> None:
    city = SmallCity(tmp_path, copies="main, other").build()
    with city.open(stores=faulty) as installation:
        break_store(installation, "other", Trouble("put", kind="full", times=10_000))
        for day in range(4):
            (city.data / f"day{day}").write_bytes(b"news" * day)
            with pytest.raises(DoneInPart):
                run_backup(installation, SYSTEM, SOURCE, now=clock)
            clock.passes(days=1)
        mend_store(installation, "other")
        (result,) = catch_up(installation, now=clock)
        assert result.good
        stored = [point.committed_at for point in result.copied]
        assert stored == sorted(stored)
        assert len(stored) == 4
        chain = {point.id for point in installation.catalog.points.list(store="other")}
        assert chain == {point.id for point in installation.catalog.points.list(store="main")}
    for point in chain:
        assert city.read(point, "other") == city.read(point, "main")


def test_a_stop_ends_it_between_two_points(behind: SmallCity, clock: Clock) -> None:
    stop = threading.Event()
    with behind.open() as installation:
        with pytest.raises(Interrupted):
            catch_up(installation, now=clock, stop=stop, watch=lambda *_: stop.set())
        assert len(lacking(installation, "other")) == 1
        assert catch_up(installation, now=clock)[0].good


# --- damage in the way ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", HARMS)
def test_damage_in_the_first_store_does_not_reach_the_second(city: SmallCity, clock: Clock, harm: str) -> None:
    """A point goes to a store although the first copy's pack is broken, when any other has it."""
    with city.open() as installation:
        older, newer = both(installation)
        shutil.rmtree(city.root / "store-other" / "v1" / "r")
        with installation.catalog.database.write() as connection:  # as after a rebuild from "main" alone
            connection.execute(delete(point_copies).where(point_copies.c.store == "other"))
        victim = next(objects(city, "main", "/p/"))
        HARMS[harm](victim)
        (result,) = catch_up(installation, now=clock)
        assert result.good  # the packs are there, whole, so nothing had to come from the first
        assert scrub(installation, "other", now=clock).proven == tuple(sorted((older, newer)))
    assert whole(city, "other", (older, newer))


@pytest.mark.parametrize("hurt", [flip, cut])
def test_a_damaged_pack_in_the_target_is_never_called_a_copy(city: SmallCity, clock: Clock, hurt: object) -> None:
    """A scrub has found it. A later point that needs it must not make the catalog believe in it again."""
    with city.open() as installation:
        for victim in list(objects(city, "other", "/p/")):
            hurt(victim)  # type: ignore[operator]
        assert scrub(installation, "other", now=clock).damages
        with pytest.raises(DoneInPart, match="damaged in store other") as partial:
            run_backup(installation, SYSTEM, SOURCE, now=clock)
        assert "drbackup vault repair other" in partial.value.hint
        newest = installation.catalog.points.last(SYSTEM, SOURCE)
        assert newest is not None
        assert newest.copies == ("main",)
        run = installation.catalog.runs.last(RunKind.BACKUP, SYSTEM, SOURCE)
        assert run is not None
        assert run.state is RunState.COMMITTED
        (result,) = catch_up(installation, now=clock)
        assert isinstance(result.behind[newest.id], PacksMissing)
    assert read(city, newest.id, "main") == SECOND


def test_a_pack_that_the_only_donor_has_damaged_is_not_copied(behind: SmallCity, clock: Clock) -> None:
    victim = max(objects(behind, "main", "/p/"), key=lambda path: path.stat().st_size)
    flip(victim)
    with behind.open() as installation:
        (result,) = catch_up(installation, now=clock)
        assert {type(each) for each in result.behind.values()} == {ObjectCorrupt}
        assert victim.name not in {path.name for path in objects(behind, "other")}
        records = {path.name[-64:] for path in objects(behind, "other", "v1/r/")}
        assert records == {point.id for point in result.copied}  # never a record without its packs
        assert scrub(installation, "main", now=clock).damages


def test_a_run_says_how_many_earlier_points_it_left_to_catching_up(
    behind: SmallCity, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit must not wait until a new store has a whole history; what it leaves is said, and nothing is lost."""
    monkeypatch.setattr(commit, "EARLIER_POINTS", 1)
    with behind.open() as installation:
        _first, second = both(installation)
        with pytest.raises(DoneInPart, match="other lacks earlier points: 1 of them are left"):
            run_backup(installation, SYSTEM, SOURCE, now=clock)
        newest = installation.catalog.points.last(SYSTEM, SOURCE)
        assert newest is not None
        assert newest.copies == ("main", "other")
        assert [point.id for point in lacking(installation, "other")] == [second]
        (result,) = catch_up(installation, now=clock)
        assert result.good


# --- killed -----------------------------------------------------------------------------------------------------------

COPYING = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from drbackup.controller.copies import replicate
from drbackup.controller.copies.catch_up import catch_up
from drbackup.controller.home.installation import Installation
from tests.support.doubles.sudden_death import call_number, die_at

replicate._AT_ONCE = 1
die_at("put", call_number(int(sys.argv[3])), sys.argv[4])
with Installation.open(Path(sys.argv[1]), Path(sys.argv[2])) as installation:
    catch_up(installation, now=lambda: datetime.now(UTC))
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_controller_killed_while_copying_goes_on_and_no_store_has_a_record_without_its_packs(
    behind: SmallCity, clock: Clock, moment: str
) -> None:
    words = [sys.executable, "-c", COPYING, str(behind.home), str(behind.policies)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    deaths, stored = 0, 0
    while True:
        # The second thing it stores kills it: so every put of the whole copy is once the last one.
        died = subprocess.run([*words, "2", moment], env=environment, capture_output=True, timeout=120, check=False)
        with behind.open() as installation:
            for point in installation.catalog.points.list(store="other"):
                assert behind.read(point.id, "other") == behind.read(point.id, "main")
            there = len(list(objects(behind, "other")))
            if died.returncode == 0:
                break
            assert died.returncode == -signal.SIGKILL, died.stderr.decode()
            assert there > stored, "nothing that was stored is stored again"
            deaths, stored = deaths + 1, there
    assert deaths >= 3
    with behind.open() as installation:
        points = both(installation)
        assert scrub(installation, "other", now=clock).proven == tuple(sorted(points))
    assert whole(behind, "other", points)


BACKING_UP = """
import sys
from pathlib import Path
from drbackup.controller.home.installation import Installation
from tests.support.runs import run_backup
from tests.support.doubles.sudden_death import die_at

_, home, policies, part, moment, system, source = sys.argv
die_at("put", lambda store, name: store == "other" and part in name, moment)
with Installation.open(Path(home), Path(policies)) as installation:
    run_backup(installation, system, source)
"""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("part", ["/p/", "/t/", "v1/r/"])
def test_a_controller_killed_while_a_backup_follows_leaves_two_stores_that_agree_again(
    tmp_path: Path, clock: Clock, part: str, moment: str
) -> None:
    city = SmallCity(tmp_path, copies="main, other").build()
    with city.open() as installation:
        first = run_backup(installation, SYSTEM, SOURCE)
    (city.data / "c").write_bytes(SECOND[b"c"])
    words = [sys.executable, "-c", BACKING_UP, str(city.home), str(city.policies), part, moment, SYSTEM, SOURCE]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    died = subprocess.run(words, env=environment, capture_output=True, timeout=120, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    with city.open() as installation:
        assert read(city, first.id, "main") == read(city, first.id, "other") == FIRST
        newest = run_backup(installation, SYSTEM, SOURCE)
        catch_up(installation, now=clock)
        points = [point.id for point in installation.catalog.points.list(system=SYSTEM)]
        assert len(points) == (3 if part == "v1/r/" else 2)  # the record in the first store is the commit
        for store in ("main", "other"):
            assert scrub(installation, store, now=clock).proven == tuple(sorted(points))
    assert read(city, newest.id, "main") == read(city, newest.id, "other") == SECOND
