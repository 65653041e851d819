"""What every source promises, asked of each kind: copy → restore → the same; empty, unreadable and torn never pass."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from drbackup.errors import DrbackupError, SourceEmpty, SourceShrunk, TargetOccupied
from drbackup.wire.specs import InPlaceTarget, Plausibility, SourceSpec
from drbackup_agent.jobs import require_plausible
from drbackup_agent.sources.command import CommandSpec
from drbackup_agent.sources.files.spec import FilesSpec
from drbackup_agent.sources.kinds import open_source
from drbackup_agent.sources.postgres.spec import PostgresSpec
from drbackup_agent.sources.sqlite.spec import SqliteSpec
from tests.support.doubles.source_runs import SourceRuns
from tests.support.doubles.tree_facts import tree_facts
from tests.support.services.postgres import Database


@dataclass
class Kind:
    """One kind of source on real data. ``look`` is what must be the same after a restore to ``elsewhere``."""

    spec: SourceSpec
    elsewhere: SourceSpec | None
    look: Callable[[SourceSpec], object]
    empty: SourceSpec
    unreadable: SourceSpec


def _files(folder: Path) -> Kind:
    data = folder / "data"
    (data / "sub").mkdir(parents=True)
    (data / "sub" / "a.txt").write_bytes(b"a" * 1000)
    (data / "big").write_bytes(os.urandom(600_000))
    (folder / "empty").mkdir()
    return Kind(
        spec=FilesSpec((str(data),)),
        elsewhere=None,
        look=lambda spec: tree_facts(data),
        empty=FilesSpec((str(folder / "empty"),)),
        unreadable=FilesSpec((str(folder / "missing"),)),
    )


def _sqlite_rows(spec: SourceSpec) -> object:
    assert isinstance(spec, SqliteSpec)
    with closing(sqlite3.connect(spec.path)) as database:
        return database.execute("SELECT * FROM t ORDER BY id").fetchall()


def _sqlite(folder: Path) -> Kind:
    path = folder / "register.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)")
        database.executemany("INSERT INTO t (x) VALUES (?)", [(str(n) * 50,) for n in range(3000)])
    (folder / "empty.db").touch()
    (folder / "broken.db").write_bytes(b"this is no database" * 1000)
    return Kind(
        spec=SqliteSpec(str(path)),
        elsewhere=SqliteSpec(str(folder / "restored.db")),
        look=_sqlite_rows,
        empty=SqliteSpec(str(folder / "empty.db")),
        unreadable=SqliteSpec(str(folder / "broken.db")),
    )


def _command(folder: Path) -> Kind:
    out = folder / "out"
    write = (sys.executable, "-c", "import sys; sys.stdout.buffer.write(bytes(range(256)) * 4000)")
    read = (sys.executable, "-c", f"import sys; open({str(out)!r}, 'wb').write(sys.stdin.buffer.read())")
    spec = CommandSpec(write, read)

    def look(asked: SourceSpec) -> object:
        return out.read_bytes() if asked is not spec else bytes(range(256)) * 4000

    return Kind(
        spec=spec,
        elsewhere=CommandSpec(write, read, name="stdout"),
        look=look,
        empty=CommandSpec(("/bin/true",)),
        unreadable=CommandSpec((sys.executable, "-c", "print('half'); raise SystemExit(3)")),
    )


def _postgres(database: Database) -> Kind:
    database.sql(
        "CREATE TABLE t (id serial PRIMARY KEY, x text)",
        "INSERT INTO t (x) SELECT repeat(n::text, 20) FROM generate_series(1, 5000) n",
    )
    empty = database.other()
    database.server.psql("template1", f"CREATE DATABASE {empty} TEMPLATE template0")

    def look(spec: SourceSpec) -> object:
        assert isinstance(spec, PostgresSpec)
        return database.server.psql(spec.database, "SELECT * FROM t ORDER BY id", "SELECT last_value FROM t_id_seq")

    return Kind(
        spec=database.spec(),
        elsewhere=database.spec(database=database.other()),
        look=look,
        empty=database.spec(database=empty),
        unreadable=database.spec(database="no_such_database"),
    )


@pytest.fixture(params=["files", "sqlite", "command", pytest.param("postgres", marks=pytest.mark.postgres)])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kind]:
    folder = tmp_path / "source"
    folder.mkdir()
    match request.param:
        case "files":
            yield _files(folder)
        case "sqlite":
            yield _sqlite(folder)
        case "command":
            yield _command(folder)
        case "postgres":
            yield _postgres(request.getfixturevalue("database"))


@pytest.fixture
def runs(tmp_path: Path) -> SourceRuns:
    return SourceRuns(tmp_path / "state")


def test_what_comes_back_in_place_is_what_was_copied(kind: Kind, runs: SourceRuns, tmp_path: Path) -> None:
    before = kind.look(kind.spec)
    run = runs.backup(kind.spec)
    if kind.elsewhere is not None:
        runs.restore(run, InPlaceTarget(kind.elsewhere))
        assert kind.look(kind.elsewhere) == before
        return
    runs.restore(run, tmp_path / "out")
    assert isinstance(kind.spec, FilesSpec)
    assert tree_facts(tmp_path / "out" / kind.spec.paths[0].lstrip("/")) == before


def test_any_kind_comes_back_as_files_below_a_folder(kind: Kind, runs: SourceRuns, tmp_path: Path) -> None:
    run = runs.backup(kind.spec)
    result = runs.restore(run, tmp_path / "out")
    assert result.entries == run.written.entries
    for entry in run.entries.values():
        restored = tmp_path / "out" / os.fsdecode(entry.path)
        assert restored.is_dir() or restored.read_bytes() == b"".join(run.reader.content(entry))


def test_an_occupied_folder_is_refused_and_left_as_it_was(kind: Kind, runs: SourceRuns, tmp_path: Path) -> None:
    run = runs.backup(kind.spec)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    with pytest.raises(TargetOccupied):
        runs.restore(run, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"mine"}


def test_a_second_run_over_the_same_data_adds_next_to_nothing(kind: Kind, runs: SourceRuns) -> None:
    first = runs.backup(kind.spec)
    second = runs.backup(kind.spec)
    assert first.written.new_bytes > 0
    assert second.written.new_bytes == 0
    assert {p: e.digest for p, e in first.entries.items()} == {p: e.digest for p, e in second.entries.items()}


def test_an_empty_source_is_not_called_a_backup(kind: Kind, runs: SourceRuns) -> None:
    run = runs.backup(kind.empty)
    with pytest.raises(SourceEmpty):
        require_plausible(run.substance, run.written.content_bytes, Plausibility())
    require_plausible(run.substance, run.written.content_bytes, Plausibility(allow_empty=True))


def test_an_unreadable_source_fails_the_run(kind: Kind, runs: SourceRuns) -> None:
    with pytest.raises(DrbackupError):
        runs.backup(kind.unreadable)


def test_a_shrunken_source_is_not_called_a_backup(kind: Kind, runs: SourceRuns) -> None:
    run = runs.backup(kind.spec)
    size = run.written.content_bytes
    require_plausible(run.substance, size, Plausibility(previous=size))
    with pytest.raises(SourceShrunk):
        require_plausible(run.substance, size, Plausibility(previous=size * 3, max_shrink=0.5))


def test_the_instant_is_never_later_than_the_data(kind: Kind, runs: SourceRuns) -> None:
    run = runs.backup(kind.spec)
    assert 0 < run.facts.pinned_ns <= runs.clock_ns()
    assert run.facts.kind in ("files", "sqlite", "command", "postgres")


def test_preflight_says_what_is_wrong_and_raises_nothing(kind: Kind, runs: SourceRuns) -> None:
    runs.state.mkdir()
    good = open_source(kind.spec, runs.context()).preflight()
    assert good
    assert all(check.line.startswith("ok") for check in good), good
