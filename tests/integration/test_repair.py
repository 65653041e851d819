"""Two copies repair each other: every kind of damage to every kind of object, and what is whole nowhere is named."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from drbackup.controller.catalog.scrub import Scrubs
from drbackup.controller.copies.diagnose import HOME, DefectKind, Diagnosis, diagnose
from drbackup.controller.copies.repair import Repaired, repair
from drbackup.controller.copies.scrub import scrub
from drbackup.controller.evidence import verify_stores, write_evidence
from drbackup.controller.home.initialise import extend
from drbackup.controller.home.installation import Installation
from drbackup.errors import StoreFull, StoreUnavailable, VaultMissing
from drbackup.model.point import Rung
from drbackup.stores.folder.store import DAMAGED_PREFIX
from drbackup.stores.s3.store import S3Store
from drbackup.vault.layout import VAULT_NAME
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
    flip,
    name_of,
    objects,
    overwrite,
    read,
)
from tests.support.doubles.faulty_store import Trouble, break_store, faulty
from tests.support.runs import run_backup
from tests.support.services.seaweedfs import S3Server


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> SmallCity:
    """Two points in two stores, and two pieces of evidence."""
    city = build(tmp_path_factory.mktemp("twin"))
    with city.open() as installation:
        for statement in (b'{"a": 1}', b'{"b": 2}'):
            write_evidence(installation, statement, subject="drill", when=Clock()())
    return city


@pytest.fixture
def city(template: SmallCity, tmp_path: Path) -> SmallCity:
    city = copy(template, tmp_path)
    shutil.copytree(template.root / "home", tmp_path / "home", dirs_exist_ok=True)
    return city


@pytest.fixture
def clock() -> Clock:
    return Clock()


def mend(installation: Installation, clock: Clock, *stores: str) -> tuple[Diagnosis, Repaired]:
    diagnosis = diagnose(installation, stores, now=clock)
    return diagnosis, repair(installation, diagnosis, now=clock)


def twins(city: SmallCity, clock: Clock) -> bool:
    """Whether both stores hold both points, whole, by themselves; and a scrub finds nothing."""
    with city.open() as installation:
        points = both(installation)
        reports = [scrub(installation, store, now=clock) for store in ("main", "other")]
        rungs = {point.rung for point in installation.catalog.points.list()}
    restored = [read(city, point, store) for store in ("main", "other") for point in points]
    return (
        restored == [FIRST, SECOND] * 2
        and all(report.good and len(report.proven) == 2 for report in reports)
        and rungs == {Rung.CHECKSUMMED}
    )


PARTS = {
    "/p/": DefectKind.PACK,
    "/t/": DefectKind.PACK,
    "v1/r/": DefectKind.RECORD,
    "v1/c/": DefectKind.KEYS,
    "v1/e/": DefectKind.EVIDENCE,
    VAULT_NAME: DefectKind.VAULT,
}


CASES = [(part, harm, "main") for part in PARTS for harm in HARMS] + [(part, "flipped", "other") for part in PARTS]


@pytest.mark.parametrize(("part", "harm", "store"), CASES)
def test_any_damage_to_any_object_of_one_store_is_mended_from_the_other(
    city: SmallCity, clock: Clock, part: str, harm: str, store: str
) -> None:
    before = contents(city, store)
    victim = next(objects(city, store, part))
    HARMS[harm](victim)
    hurt = victim.read_bytes() if victim.exists() else None
    with city.open() as installation:
        scrub(installation, store, now=clock)
        diagnosis, repaired = mend(installation, clock)
        (defect,) = diagnosis.defects
        assert (defect.store, defect.name, defect.kind) == (store, name_of(city, store, victim), PARTS[part])
        assert [(each.name, donor != store) for each, donor in repaired.mended] == [(defect.name, True)]
        assert repaired.failed == []
        assert repaired.proven[store] == 2  # read back whole again
    assert contents(city, store) == before  # nothing else was touched
    kept = [path.read_bytes() for path in victim.parent.glob(f"{DAMAGED_PREFIX}*")]
    assert kept == ([] if hurt is None else [hurt])
    assert twins(city, clock)


def test_looking_changes_nothing(city: SmallCity, clock: Clock) -> None:
    for path in list(objects(city, "main", "v1/d/")):
        flip(path)
    with city.open() as installation:
        scrub(installation, "main", now=clock)
        before = {path: path.stat().st_mtime_ns for path in city.root.glob("store-*/**/*")}
        assert diagnose(installation, now=clock).defects
        assert {path: path.stat().st_mtime_ns for path in city.root.glob("store-*/**/*")} == before


@pytest.mark.parametrize("seed", range(4))
def test_two_damaged_stores_repair_each_other_while_every_object_is_whole_in_one(
    city: SmallCity, clock: Clock, seed: int
) -> None:
    """Every object that both have is hurt in one of them, by chance, in any way; but for the description, by which a
    store is told from a folder whose disk is not mounted."""
    dice = random.Random(seed)
    shared = sorted((contents(city, "main").keys() & contents(city, "other").keys()) - {VAULT_NAME})
    for name in shared:
        HARMS[dice.choice(sorted(HARMS))](city.root / f"store-{dice.choice(('main', 'other'))}" / name)
    with city.open() as installation:
        for store in ("main", "other"):
            scrub(installation, store, now=clock)
        diagnosis, repaired = mend(installation, clock)
        assert repaired.failed == []
        assert {defect.name for defect in diagnosis.defects} >= set(shared)
        assert all(report.good for report in verify_stores(installation).values())
    assert twins(city, clock)


def test_a_disk_that_was_replaced_by_an_empty_one_is_filled_again(city: SmallCity, clock: Clock) -> None:
    before = contents(city, "other")
    shutil.rmtree(city.root / "store-other")
    with city.open() as installation:
        diagnosis, _ = mend(installation, clock)
        assert isinstance(diagnosis.away["other"], VaultMissing)  # it might only not be mounted
        assert not (city.root / "store-other").exists()
        extend(installation, now=clock())  # drbackup keys seal: a person says that it is the new disk
        mend(installation, clock)
    assert contents(city, "other").keys() >= before.keys()
    assert twins(city, clock)


def test_what_is_whole_nowhere_is_named_with_its_points_and_the_rest_is_mended(city: SmallCity, clock: Clock) -> None:
    victim = max(objects(city, "main", "/p/"), key=lambda path: path.stat().st_size)
    name = name_of(city, "main", victim)
    for store in ("main", "other"):
        flip(city.root / f"store-{store}" / name)
    tree = next(objects(city, "other", "/t/"))
    tree.unlink()
    with city.open() as installation:
        for store in ("main", "other"):
            scrub(installation, store, now=clock)
        diagnosis, repaired = mend(installation, clock)
        lost = [defect for defect in diagnosis.defects if defect.name == name]
        assert {defect.store for defect in lost} == {"main", "other"}
        assert [defect.name for defect, _ in repaired.mended] == [name_of(city, "other", tree)]
        assert {defect.name for defect, _ in repaired.failed} == {name}
        assert set(repaired.lost) == set(lost[0].points)
        hurt = set(repaired.lost)
        rungs = {point.id: point.rung for point in installation.catalog.points.list()}
        assert {point for point, rung in rungs.items() if rung is Rung.WRITTEN} == hurt
        # the source still has it: the next backup sends it again, under another name
        newest = run_backup(installation, SYSTEM, SOURCE, now=clock)
        assert newest.copies == ("main", "other")
    assert read(city, newest.id, "main") == read(city, newest.id, "other") == SECOND


def test_good_bytes_that_the_catalog_did_not_count_on_are_counted_on_again_and_not_written(
    city: SmallCity, clock: Clock
) -> None:
    """A cable was loose while the scrub read; or somebody put the file back by hand."""
    victim = next(objects(city, "main", "/p/"))
    good = victim.read_bytes()
    flip(victim)
    with city.open() as installation:
        scrub(installation, "main", now=clock)
        overwrite(victim, good)
        written = victim.stat().st_mtime_ns
        diagnosis, repaired = mend(installation, clock)
        assert (diagnosis.defects, diagnosis.recovered) == ([], [("main", name_of(city, "main", victim))])
        assert repaired.proven["main"] == 2
        assert victim.stat().st_mtime_ns == written
    assert twins(city, clock)


def test_a_record_that_a_collector_has_removed_does_not_come_back(city: SmallCity, clock: Clock) -> None:
    with city.open() as installation:
        older, _newer = both(installation)
        record = installation.catalog.points.get(older).name
        (city.root / "store-main" / record).unlink()
        diagnosis = diagnose(installation, now=clock)
        assert [defect.name for defect in diagnosis.defects] == [record]
        expected = Scrubs.expected
        pytest.MonkeyPatch().setattr(Scrubs, "expected", lambda *_: {})  # between looking and mending
        try:
            repaired = repair(installation, diagnosis, now=clock)
        finally:
            Scrubs.expected = expected  # type: ignore[method-assign]
        assert [defect.name for defect, _ in repaired.failed] == [record]
        assert not (city.root / "store-main" / record).exists()


def test_a_foreign_record_is_named_and_left_as_it_is(city: SmallCity, clock: Clock) -> None:
    planted = city.root / "store-main" / f"v1/r/{SYSTEM}/20261123T000000Z-{'ab' * 32}"
    planted.write_bytes(b"forged")
    with city.open() as installation:
        diagnosis, repaired = mend(installation, clock)
        assert [(defect.name[-64:], defect.sound_stores) for defect in diagnosis.defects] == [("ab" * 32, ())]
        assert len(repaired.failed) == 1
    assert planted.read_bytes() == b"forged"


# --- stores that are ill ----------------------------------------------------------------------------------------------


def test_a_donor_that_does_not_answer_is_named_and_nothing_is_given_up(city: SmallCity, clock: Clock) -> None:
    victim = next(objects(city, "main", "/p/"))
    flip(victim)
    with city.open(stores=faulty) as installation:
        scrub(installation, "main", now=clock)
        break_store(installation, "other", Trouble("any", times=10_000))
        diagnosis, repaired = mend(installation, clock)
        assert isinstance(diagnosis.away["other"], StoreUnavailable)
        assert diagnosis.stores == ["main"]
        assert [defect.sound_stores for defect, _ in repaired.failed] == [()]
    with city.open() as installation:  # it is back
        assert len(mend(installation, clock)[1].mended) == 1
    assert twins(city, clock)


@pytest.mark.parametrize("at", [2, 4, 8, 14])
def test_a_store_that_dies_while_it_is_looked_at_is_named_and_the_other_is_mended(
    city: SmallCity, clock: Clock, at: int
) -> None:
    for store in ("main", "other"):
        next(objects(city, store, "/p/" if store == "main" else "/t/")).unlink()
    with city.open(stores=faulty) as installation:
        break_store(installation, "other", Trouble("any", at=at, times=10_000))
        diagnosis, repaired = mend(installation, clock)
        assert isinstance(diagnosis.away["other"], StoreUnavailable)
        assert {defect.store for defect in diagnosis.defects} <= {"main"}
        assert {defect.store for defect, _ in repaired.mended} <= {"main"}
    with city.open() as installation:
        mend(installation, clock)
    assert twins(city, clock)


def test_a_full_disk_is_asked_once_and_loses_nothing(city: SmallCity, clock: Clock) -> None:
    before = contents(city, "other")
    for path in list(objects(city, "other", "v1/d/")):
        path.unlink()
    with city.open(stores=faulty) as installation:
        scrub(installation, "other", now=clock)
        break_store(installation, "other", Trouble("mend", kind="full", times=10_000))
        diagnosis, repaired = mend(installation, clock)
        assert len(repaired.failed) == len(diagnosis.defects)
        assert {type(error) for _, error in repaired.failed} == {StoreFull}
    with city.open() as installation:
        mend(installation, clock)
    assert contents(city, "other").keys() == before.keys()
    assert twins(city, clock)


def test_a_disk_that_is_unmounted_midway_is_not_written_to(city: SmallCity, clock: Clock) -> None:
    for path in list(objects(city, "other", "v1/d/")):
        flip(path)
    with city.open() as installation:
        scrub(installation, "other", now=clock)
        diagnosis = diagnose(installation, now=clock)
        shutil.move(city.root / "store-other", city.root / "unmounted")
        (city.root / "store-other").mkdir()
        repaired = repair(installation, diagnosis, now=clock)
        assert repaired.mended == []
        assert list((city.root / "store-other").iterdir()) == []
        (city.root / "store-other").rmdir()
        shutil.move(city.root / "unmounted", city.root / "store-other")
        mend(installation, clock)
    assert twins(city, clock)


# --- killed -----------------------------------------------------------------------------------------------------------

MENDING = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from drbackup.controller.copies import repair
from drbackup.controller.copies.diagnose import diagnose
from drbackup.controller.home.installation import Installation
from tests.support.doubles.sudden_death import call_number, die_at

now = lambda: datetime.now(UTC)
repair._AT_ONCE = 1
die_at("repair", call_number(2), sys.argv[3])
with Installation.open(Path(sys.argv[1]), Path(sys.argv[2])) as installation:
    repair.repair(installation, diagnose(installation, now=now), now=now)
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_repair_killed_at_any_object_is_finished_by_the_next(city: SmallCity, clock: Clock, moment: str) -> None:
    before = {store: contents(city, store) for store in ("main", "other")}
    for store, parts in {"main": ("/p/", "v1/r/"), "other": ("/t/", "v1/c/", VAULT_NAME)}.items():
        for part in parts:
            flip(next(objects(city, store, part)))
    with city.open() as installation:
        for store in ("main", "other"):
            scrub(installation, store, now=clock)
    words = [sys.executable, "-c", MENDING, str(city.home), str(city.policies), moment]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    deaths = 0
    while True:
        died = subprocess.run(words, env=environment, capture_output=True, timeout=120, check=False)
        for store, good in before.items():
            now_there = contents(city, store)
            assert now_there.keys() == good.keys(), "a name is never without bytes"
        if died.returncode == 0:
            break
        assert died.returncode == -signal.SIGKILL, died.stderr.decode()
        deaths += 1
    assert deaths >= 2
    assert {store: contents(city, store) for store in ("main", "other")} == before
    assert twins(city, clock)


# --- a bucket ---------------------------------------------------------------------------------------------------------


@pytest.mark.s3
def test_a_locked_bucket_and_a_folder_repair_each_other(tmp_path: Path, s3_server: S3Server, clock: Clock) -> None:
    bucket = s3_server.shared_bucket()
    place = f"bucket: {bucket}, endpoint: '{s3_server.endpoint}', credentials_file: {s3_server.credentials_file()}"
    stores = f"  cloud: {{s3: {{{place}, lock_days: 31}}, prefix: {tmp_path.name}/}}\n"
    city = build(tmp_path, copies="cloud, main", stores=stores)
    with city.open() as installation:
        cloud = installation.store("cloud")
        assert isinstance(cloud, S3Store)
        points = both(installation)
        packs = sorted(stat.name for stat in cloud.list("v1/d/") if "/i/" not in stat.name)
        records = sorted(stat.name for stat in cloud.list("v1/r/"))
        client, address = cloud.client, lambda name: {"Bucket": bucket, "Key": cloud.key(name)}
        for name in [packs[0], records[0]]:  # laid over: the locked version below is read
            client.put_object(**address(name), Body=b"ransom note")
        client.delete_object(**address(packs[1]))
        client.delete_object(**address(records[1]))
        for name in packs[2:]:  # the folder has lost the others
            (city.root / "store-main" / name).unlink()
        for store in ("cloud", "main"):
            scrub(installation, store, now=clock)
        diagnosis, repaired = mend(installation, clock, "cloud", "main")
        hurt = {("cloud", packs[1]), ("cloud", records[1]), *(("main", name) for name in packs[2:])}
        assert {(defect.store, defect.name) for defect in diagnosis.defects} >= hurt
        assert repaired.failed == []
        listed = {stat.name: stat.size for stat in cloud.list("v1/")}
        for name in (packs[1], records[1]):
            assert listed[name] == (city.root / "store-main" / name).stat().st_size
            lock = client.get_object_retention(**address(name))["Retention"]
            assert lock["RetainUntilDate"] > clock()
        for store in ("cloud", "main"):
            assert scrub(installation, store, now=clock).proven == tuple(sorted(points))
    assert read(city, points[1], "cloud") == read(city, points[1], "main") == SECOND


def test_the_home_gives_back_what_only_it_has(city: SmallCity, clock: Clock) -> None:
    """Its own evidence, and the vault's description, when every store has them damaged."""
    for store in ("main", "other"):
        flip(city.root / f"store-{store}" / VAULT_NAME)
        flip(next(objects(city, store, "v1/e/")))
    with city.open() as installation:
        _, repaired = mend(installation, clock)
        assert repaired.failed == []
        assert HOME in {donor for _, donor in repaired.mended}
    assert twins(city, clock)
