"""The catalog made anew from the stores is the one that was lost, row by row; what is damaged is named."""

from __future__ import annotations

import fcntl
import random
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.tables import chunks, domains, pack_copies, packs, point_copies, points
from drbackup.controller.drills.statement import PointUsed, encode
from drbackup.controller.evidence import verify_folder, write_evidence
from drbackup.controller.home.initialise import extend
from drbackup.controller.home.installation import Installation
from drbackup.controller.rebuild import rebuild as rebuilding
from drbackup.controller.rebuild.keys import keys_for_rebuild
from drbackup.controller.rebuild.rebuild import REBUILDING_FILE, RebuildReport
from drbackup.errors import RunActive, StoreUnavailable, UsageError, WrongKey
from drbackup.model.point import Rung
from drbackup.stores.folder.store import DirectoryStore
from drbackup.vault.custody import join_shares
from drbackup.vault.layout import INDEX
from drbackup.vault.pack import SessionKey
from drbackup.vault.store_access import StoreDestination
from drbackup.vault.write.pack_sink import ChunkSink
from drbackup.wire.messages import Place
from tests.support.cities.small_city import AGENT, SOURCE, SYSTEM, SmallCity
from tests.support.doubles.told_drill import statement
from tests.support.runs import run_backup
from tests.support.services.seaweedfs import S3Server

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BIG = random.Random(4).randbytes(5 << 20)


@pytest.fixture
def city(tmp_path: Path) -> SmallCity:
    """Two points of one source in two stores."""
    city = SmallCity(tmp_path, copies="main, other", module="drbackup_agent").build()
    (city.data / "big").write_bytes(BIG)
    with city.open() as installation:
        run_backup(installation, SYSTEM, SOURCE)
        (city.data / "c").write_bytes(b"gamma" * 3000)
        # Small files share a chunk with those that are read beside them. Who reads all of them now, as an agent without
        # a memory will later, gets the same chunks, however long ago the first run was.
        shutil.rmtree(city.root / "agent")
        run_backup(installation, SYSTEM, SOURCE)
    return city


def stores_of(city: SmallCity, names: Iterable[str] = ("main", "other")) -> dict[str, DirectoryStore]:
    return {name: DirectoryStore(name, city.root / f"store-{name}") for name in names}


def rebuild(city: SmallCity, *names: str, seed: bytes | None = None) -> RebuildReport:
    stores = stores_of(city, names or ("main", "other"))
    keys = keys_for_rebuild(city.home, stores, seed)
    return rebuilding.rebuild(city.home, keys, stores, now=NOW, watch=lambda *_: None)


def lose(city: SmallCity) -> dict[str, Any]:
    """The catalog is gone; what it held."""
    held = rows(city)
    for path in city.home.glob("catalog.sqlite*"):
        path.unlink()
    return held


def rows(city: SmallCity) -> dict[str, Any]:
    """Everything a store can tell, without numbers that are only this database's and times of storing."""
    with Catalog.open(city.home / "catalog.sqlite") as catalog, catalog.database.read() as connection:
        named = select(domains.c.name, packs.c.kind, packs.c.name, packs.c.size, packs.c.session).join(domains)
        inside = select(packs.c.name, *(column for column in chunks.c if column.name not in {"domain", "pack"}))
        queries = {
            "points": select(points),
            "point_copies": select(point_copies),
            "packs": named,
            "pack_copies": select(packs.c.name, pack_copies.c.store).join(packs),
            "chunks": inside.join(packs, packs.c.id == chunks.c.pack),
        }
        return {name: sorted(tuple(row) for row in connection.execute(query)) for name, query in queries.items()}


def some(folder: Path, pattern: str) -> Path:
    """Any one of them: the order of names says nothing of which is older."""
    return next(folder.glob(pattern))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def test_it_is_the_lost_one_row_by_row(city: SmallCity) -> None:
    before = lose(city)
    report = rebuild(city)
    assert (report.faults, report.notes) == ((), ())
    assert (report.points, report.packs, report.chunks) == (2, len(before["packs"]), len(before["chunks"]))
    after = rows(city)
    for table, expected in before.items():
        assert after[table] == expected, table


def test_the_next_backup_sends_nothing_new_and_the_chain_goes_on(city: SmallCity) -> None:
    lose(city)
    rebuild(city)
    shutil.rmtree(city.root / "agent")  # with its memory an agent would not even ask
    with city.open() as installation:
        last = installation.catalog.points.last(SYSTEM, SOURCE)
        point = run_backup(installation, SYSTEM, SOURCE)
        assert last is not None
        assert point.totals.new_bytes == 0
        assert installation.catalog.points.previous(SYSTEM, SOURCE) == point.id
    lose(city)
    assert rebuild(city).faults == ()  # no gap, no branch


def test_a_log_that_a_killed_process_left_is_not_taken_for_the_new_catalogs(city: SmallCity) -> None:
    log = city.home / "catalog.sqlite-wal"
    with city.open() as installation:
        run_backup(installation, SYSTEM, SOURCE)
        left = log.read_bytes()
    before = lose(city)
    log.write_bytes(left)
    rebuild(city)
    after = rows(city)
    for table, expected in before.items():
        assert after[table] == expected, table
    assert [path.read_bytes() for path in city.home.glob("*.damaged-*-wal")] == [left]


def test_looking_writes_nothing(city: SmallCity) -> None:
    lose(city)
    before = {path: path.read_bytes() for path in city.root.rglob("*") if path.is_file()}
    stores = stores_of(city)
    keys = keys_for_rebuild(city.home, stores, None)
    report = rebuilding.look(city.home, keys, stores, now=NOW, watch=lambda *_: None)
    assert (report.points, report.faults) == (2, ())
    assert {path: path.read_bytes() for path in city.root.rglob("*") if path.is_file()} == before


def test_the_stores_are_only_read(city: SmallCity) -> None:
    lose(city)
    before = {path: path.stat().st_mtime_ns for path in city.root.glob("store-*/**/*")}
    rebuild(city)
    assert {path: path.stat().st_mtime_ns for path in city.root.glob("store-*/**/*")} == before


def test_the_second_copy_alone_knows_every_chunk_of_data_by_its_trees(city: SmallCity) -> None:
    before = lose(city)
    shutil.rmtree(city.root / "store-main")
    assert not list(city.root.glob("store-other/v1/d/*/i/*"))  # it never gets the deltas
    report = rebuild(city, "other")
    assert (report.points, report.faults, report.notes) == (2, (), ())
    deltas = {row[2] for row in before["packs"] if row[1] == "i"}
    assert rows(city)["chunks"] == [row for row in before["chunks"] if row[0] not in deltas]


def test_a_rebuild_that_died_goes_on_and_ends_the_same(city: SmallCity, monkeypatch: pytest.MonkeyPatch) -> None:
    before = lose(city)
    get = DirectoryStore.get
    asked: list[str] = []

    def stop_in_the_middle(self: DirectoryStore, name: str, *more: Any) -> bytes:
        asked.append(name)
        if "/i/" in name and len([each for each in asked if "/i/" in each]) > 1:
            raise StoreUnavailable("the line went dead")
        return get(self, name, *more)

    monkeypatch.setattr(DirectoryStore, "get", stop_in_the_middle)
    with pytest.raises(StoreUnavailable):
        rebuild(city)
    assert not (city.home / "catalog.sqlite").exists()
    assert (city.home / REBUILDING_FILE).exists()
    monkeypatch.setattr(DirectoryStore, "get", get)
    rebuild(city)
    assert rows(city) == before
    assert not (city.home / REBUILDING_FILE).exists()


def test_a_flipped_record_is_named_and_the_other_copy_gives_the_point(city: SmallCity) -> None:
    before = lose(city)
    flip(some(city.root, "store-main/v1/r/*/*"))
    report = rebuild(city)
    (fault,) = report.faults
    assert fault.store == "main"
    assert fault.name.startswith("v1/r/registry/")
    after = rows(city)
    assert after["points"] == before["points"]
    assert len(after["point_copies"]) == len(before["point_copies"]) - 1


def test_a_record_lost_everywhere_is_a_named_gap(city: SmallCity) -> None:
    with city.open() as installation:
        newer, older = installation.catalog.points.list(system=SYSTEM)
        # The one the other names as its previous, not the first by name: names hold seconds, and then comes a hash.
        assert installation.catalog.points.previous(SYSTEM, SOURCE) == newer.id
    lose(city)
    for store in ("main", "other"):
        (city.root / f"store-{store}" / older.name).unlink()
    report = rebuild(city)
    assert report.points == 1
    (fault,) = report.faults
    assert fault.name == newer.name
    assert f"{older.id[:12]} before point {newer.id[:12]} is nowhere sound" in fault.why


def test_a_flipped_delta_is_named_and_its_chunks_come_from_the_trees(city: SmallCity) -> None:
    before = lose(city)
    for delta in city.root.glob("store-main/v1/d/*/i/*"):
        flip(delta)
    report = rebuild(city)
    assert len(report.faults) == 2
    assert all("/i/" in fault.name for fault in report.faults)
    data = {row[2] for row in before["packs"] if row[1] in "pt"}
    assert {row for row in rows(city)["chunks"] if row[0] in data} == {
        row for row in before["chunks"] if row[0] in data
    }


def test_two_indexes_that_disagree_are_named_and_neither_is_believed(city: SmallCity) -> None:
    pack = next(row[2] for row in rows(city)["packs"] if row[1] == "p")
    with city.open() as installation:
        keys = installation.domain_keys(AGENT, "main")
        destination = StoreDestination(installation.store("main"), AGENT)
    lie = Place(b"\x01" * 32, pack, 0, 100, 50, 50)
    sink = ChunkSink(destination, SessionKey.new(INDEX, keys), bytes(32), 1)
    sink.add(msgspec.msgpack.encode(("liar", pack, (lie,))))
    sink.finish()
    lose(city)
    report = rebuild(city, "main")
    assert ["contradicts" in fault.why for fault in report.faults] == [True]
    with city.open() as installation:
        assert not installation.catalog.packs.has(AGENT, "p", pack, "main")
        assert installation.catalog.packs.locate(AGENT, "main", [lie.id]) == ()


def test_a_missing_pack_is_named_and_not_deduplicated_against(city: SmallCity) -> None:
    lose(city)
    pack = max(city.root.glob("store-main/v1/d/*/p/*"), key=lambda path: path.stat().st_size)
    pack.unlink()
    report = rebuild(city, "main")
    assert {fault.store for fault in report.faults} == {"main"}
    assert all(pack.name in fault.why for fault in report.faults)
    with city.open() as installation:
        assert not installation.catalog.packs.has(AGENT, "p", bytes.fromhex(pack.name), "main")


def test_a_pack_of_a_session_that_never_ended_is_noted_and_opened_by_the_custodians(city: SmallCity) -> None:
    assert city.new_installation is not None
    before = rows(city)
    for path in city.root.glob("store-*/v1/r/*/*"):
        path.unlink()
    for path in city.root.glob("store-*/v1/d/*/i/*"):
        path.unlink()
    lose(city)
    report = rebuild(city)
    assert "will be sent again" in report.notes[0]
    lose(city)
    report = rebuild(city, seed=join_shares(city.new_installation.shares[:2]))
    assert (report.faults, report.notes) == ((), ())
    data = {row[2] for row in before["packs"] if row[1] in "pt"}
    assert set(rows(city)["chunks"]) == {row for row in before["chunks"] if row[0] in data}


def test_a_whole_catalog_and_a_second_rebuild_are_refused(city: SmallCity) -> None:
    with pytest.raises(UsageError, match="whole"):
        rebuild(city)
    lose(city)
    with (city.home / f"{REBUILDING_FILE}.lock").open("w") as another:
        fcntl.flock(another, fcntl.LOCK_EX)
        with pytest.raises(RunActive):
            rebuild(city)


def test_the_whole_home_comes_back_with_the_recovery_key(city: SmallCity) -> None:
    assert city.new_installation is not None
    before = rows(city)
    keys = {path.name: path.read_text() for path in (city.home / "keys").iterdir() if path.name != "drill.key"}
    shutil.rmtree(city.home)
    with pytest.raises(WrongKey, match="catalog key"):
        rebuild(city)
    with pytest.raises(WrongKey, match="another"):
        rebuild(city, seed=b"\x01" * 32)
    assert not city.home.exists()
    rebuild(city, seed=join_shares(city.new_installation.shares[1:]))
    assert {path.name: path.read_text() for path in (city.home / "keys").iterdir()} == keys
    assert rows(city) == before
    with city.open() as installation:
        assert (
            run_backup(installation, SYSTEM, SOURCE).totals.new_bytes < len(BIG) // 8
        )  # small files may be joined anew


def test_a_vault_of_before_needs_the_catalog_key_and_is_given_the_sealed_keys_by_extend(city: SmallCity) -> None:
    assert city.new_installation is not None
    seed = join_shares(city.new_installation.shares[:2])
    for path in city.root.glob("store-*/v1/c/*"):
        path.unlink()
    saved = city.root / "saved"
    city.home.rename(saved)
    with pytest.raises(WrongKey, match="sealed to the custodians"):
        rebuild(city, seed=seed)
    saved.rename(city.home)
    with Installation.open(city.home, city.policies) as installation:
        assert extend(installation, now=NOW) == ("main", "other")
        assert extend(installation, now=NOW) == ()
    shutil.rmtree(city.home)
    assert rebuild(city, seed=seed).points == 2


def test_signed_evidence_says_how_far_points_were_proven_and_damaged_evidence_is_named(city: SmallCity) -> None:
    with city.open() as installation:
        point = installation.catalog.points.last(SYSTEM, SOURCE)
        assert point is not None
        used = PointUsed(
            id=point.id,
            name=point.name,
            source=SOURCE,
            kind="files",
            domain=AGENT,
            store="main",
            pinned_at=NOW,
            committed_at=NOW,
        )
        told = encode(statement(points=(used,), checks=(), findings=()))
        write_evidence(installation, told, subject="drill", when=NOW)
        write_evidence(installation, b"{}", subject="recovery", when=NOW)
    lose(city)
    shutil.rmtree(city.home / "evidence")
    report = rebuild(city)
    assert (report.evidence, report.drills, report.faults) == (2, 1, ())
    with city.open() as installation:
        assert installation.catalog.points.get(point.id).rung is Rung.RESTORED
        assert [drill.id for drill in installation.catalog.drills.list()] == ["d1"]
        assert verify_folder(installation.evidence_folder, installation.signer.public).good
    lose(city)
    first = some(city.home, "evidence/*/*.evidence")
    flip(first)
    report = rebuild(city)
    assert [first.stem in fault.name for fault in report.faults] == [True]
    assert report.evidence == 2  # the stores have it whole


def test_points_are_only_written_until_something_proves_more(city: SmallCity) -> None:
    with city.open() as installation:
        point = installation.catalog.points.last(SYSTEM, SOURCE)
        assert point is not None
        installation.catalog.points.climb(point.id, Rung.APP_CHECKED, now=NOW)  # nothing signed says so
    lose(city)
    rebuild(city)
    with city.open() as installation:
        assert {each.rung for each in installation.catalog.points.list()} == {Rung.WRITTEN}


@pytest.mark.s3
def test_a_burnt_home_comes_back_from_a_bucket(tmp_path: Path, s3_server: S3Server, s3_bucket: str) -> None:
    bucket = f"bucket: {s3_bucket}, endpoint: '{s3_server.endpoint}', credentials_file: {s3_server.credentials_file()}"
    stores = f"  cloud: {{s3: {{{bucket}}}, prefix: city/}}\n"
    city = SmallCity(tmp_path, copies="cloud", module="drbackup_agent", stores=stores).build()
    assert city.new_installation is not None
    with city.open() as installation:
        run_backup(installation, SYSTEM, SOURCE)
        cloud = {"cloud": installation.store("cloud")}
    before = rows(city)
    shutil.rmtree(city.home)
    shutil.rmtree(city.root / "agent")
    keys = keys_for_rebuild(city.home, cloud, join_shares(city.new_installation.shares[:2]))
    report = rebuilding.rebuild(city.home, keys, cloud, now=NOW, watch=lambda *_: None)
    assert (report.points, report.faults, report.notes) == (1, (), ())
    assert rows(city) == before
    with city.open() as installation:
        assert (
            run_backup(installation, SYSTEM, SOURCE).totals.new_bytes < len(BIG) // 8
        )  # small files may be joined anew
