"""SQLite: consistent while written, sound before it counts, placed without an old journal."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from drbackup.errors import RestoreMismatch, SourceUnreadable, TargetOccupied
from drbackup.wire.specs import InPlaceTarget
from drbackup_agent.sources.sqlite import source as sqlite
from drbackup_agent.sources.sqlite.spec import SqliteSpec
from tests.support.doubles.source_runs import SourceRuns


@pytest.fixture
def runs(tmp_path: Path) -> SourceRuns:
    return SourceRuns(tmp_path / "state")


def make(path: Path, journal: str = "WAL", rows: int = 100) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"PRAGMA journal_mode={journal}")
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)")
        database.executemany("INSERT INTO t (x) VALUES (?)", [("x" * 500,) for _ in range(rows)])


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("SELECT count(*) FROM t").fetchone()[0])


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_a_copy_made_while_rows_are_written_is_one_moment(tmp_path: Path, runs: SourceRuns, journal: str) -> None:
    """Rows are written in pairs, one transaction each: an odd count would be a torn copy."""
    path = tmp_path / "busy.db"
    make(path, journal)
    stop = threading.Event()

    def scribble() -> None:
        with closing(sqlite3.connect(path, timeout=30)) as database:
            while not stop.is_set():
                with database:
                    database.execute("INSERT INTO t (x) VALUES ('left'), ('right')")

    thread = threading.Thread(target=scribble)
    thread.start()
    try:
        run = runs.backup(SqliteSpec(str(path)))
    finally:
        stop.set()
        thread.join()
    runs.restore(run, InPlaceTarget(SqliteSpec(str(tmp_path / "out.db"))))
    assert count(tmp_path / "out.db") % 2 == 0
    assert not list((runs.state / "work").iterdir())  # the local copy of personal data is gone


def test_rows_that_are_only_in_the_wal_are_copied(tmp_path: Path, runs: SourceRuns) -> None:
    path = tmp_path / "wal.db"
    make(path)
    with closing(sqlite3.connect(path)) as held:
        held.execute("PRAGMA wal_autocheckpoint=0")
        held.execute("INSERT INTO t (x) VALUES ('only in the wal')")
        held.commit()
        run = runs.backup(SqliteSpec(str(path)))
    runs.restore(run, InPlaceTarget(SqliteSpec(str(tmp_path / "out.db"))))
    assert count(tmp_path / "out.db") == 101


def test_a_damaged_database_is_not_copied(tmp_path: Path, runs: SourceRuns) -> None:
    path = tmp_path / "bad.db"
    make(path, "DELETE", rows=2000)
    with path.open("r+b") as file:
        file.seek(20 * 4096)
        file.write(b"\xa5" * 40960)
    with pytest.raises(SourceUnreadable, match=r"damaged|malformed"):
        runs.backup(SqliteSpec(str(path)))


def test_a_replaced_database_does_not_inherit_the_old_journal(tmp_path: Path, runs: SourceRuns) -> None:
    path = tmp_path / "register.db"
    make(path)
    run = runs.backup(SqliteSpec(str(path)))
    spec = SqliteSpec(str(path))
    with pytest.raises(TargetOccupied):
        runs.restore(run, InPlaceTarget(spec))
    (tmp_path / "register.db-wal").write_bytes(b"stale" * 100)
    (tmp_path / "register.db-shm").write_bytes(b"stale")
    runs.restore(run, InPlaceTarget(spec), replace=True)
    assert not (tmp_path / "register.db-wal").exists()
    assert count(path) == 100
    assert sorted(each.name for each in tmp_path.iterdir()) == ["register.db", "state"]


def test_a_database_in_use_is_not_replaced(tmp_path: Path, runs: SourceRuns) -> None:
    path = tmp_path / "register.db"
    make(path, "DELETE")
    run = runs.backup(SqliteSpec(str(path)))
    with closing(sqlite3.connect(path, isolation_level=None)) as user:
        user.execute("BEGIN IMMEDIATE")
        with pytest.raises(TargetOccupied, match="in use"):
            runs.restore(run, InPlaceTarget(SqliteSpec(str(path))), replace=True)


def test_an_unsound_restored_file_never_gets_the_name(tmp_path: Path) -> None:
    (tmp_path / "restored").write_bytes(b"no database at all" * 500)
    with pytest.raises(RestoreMismatch):
        sqlite.place_restored(tmp_path / "restored", tmp_path / "register.db")
    assert not (tmp_path / "register.db").exists()


def test_the_canary_comes_back_with_the_instant_of_the_run(tmp_path: Path, runs: SourceRuns) -> None:
    path = tmp_path / "register.db"
    make(path)
    run = runs.backup(SqliteSpec(str(path), canary=True))
    runs.restore(run, InPlaceTarget(SqliteSpec(str(tmp_path / "out.db"))))
    assert sqlite.read_canary(str(tmp_path / "out.db")) == run.facts.canary_ns > 0
    assert run.substance.items == 1


def test_one_changed_row_adds_few_blocks(tmp_path: Path, runs: SourceRuns) -> None:
    path = tmp_path / "register.db"
    make(path, "DELETE", rows=8000)
    first = runs.backup(SqliteSpec(str(path)))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE t SET x = replace(x, 'x', 'y') WHERE id = 4000")
    second = runs.backup(SqliteSpec(str(path)))
    assert first.written.new_bytes > 20 * sqlite.FIXED
    assert 0 < second.written.new_bytes <= 3 * sqlite.FIXED
