"""The catalog's file: made, migrated, refused when newer, durable, shared between processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.connection import Database
from drbackup.controller.catalog.migrating import configuration
from drbackup.controller.catalog.runs import RunKind
from drbackup.controller.catalog.tables import HEAD, metadata
from drbackup.controller.runs.lease import lease_request
from drbackup.errors import CatalogUnusable, RunActive

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_the_migrations_build_exactly_the_tables_the_program_uses(tmp_path: Path) -> None:
    with Catalog.open(tmp_path / "catalog.sqlite") as catalog, catalog.database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        scripts = ScriptDirectory.from_config(configuration(connection))
        assert scripts.get_heads() == [HEAD]


def test_a_newer_catalog_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    Catalog.open(path).close()
    database = Database(f"sqlite:///{path}")
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(CatalogUnusable, match="9999"):
        Catalog.open(path)


def test_a_file_that_is_no_catalog_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(b"this is a letter to the mayor" * 100)
    with pytest.raises(CatalogUnusable):
        Catalog.open(path)
    with pytest.raises(CatalogUnusable):
        Catalog.open(tmp_path / "missing" / "catalog.sqlite")


def test_what_was_written_is_synced_and_references_hold(tmp_path: Path) -> None:
    with Catalog.open(tmp_path / "catalog.sqlite") as catalog, catalog.database.read() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        }
        assert found == {"journal_mode": "wal", "synchronous": 2}
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_several_processes_that_open_a_new_catalog_at_once_all_succeed(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    imports = "import sys; from pathlib import Path; from drbackup.controller.catalog import Catalog"
    program = f"{imports}; Catalog.open(Path(sys.argv[1]))"
    processes = [subprocess.Popen([sys.executable, "-c", program, str(path)], stderr=subprocess.PIPE) for _ in range(4)]
    errors = [process.communicate(timeout=60)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors


def test_a_block_that_fails_writes_nothing(tmp_path: Path) -> None:
    with Catalog.open(tmp_path / "catalog.sqlite") as catalog:
        run = catalog.runs.add(RunKind.BACKUP, "s", "a", due=NOW, now=NOW)

        def fail_midway() -> None:
            with catalog.database.write() as connection:
                connection.execute(text("DELETE FROM run_steps"))
                raise KeyError("a fault midway")

        with pytest.raises(KeyError):
            fail_midway()
        assert len(catalog.runs.steps(run)) == 1


def test_of_many_threads_that_claim_one_source_exactly_one_wins(tmp_path: Path) -> None:
    with Catalog.open(tmp_path / "catalog.sqlite") as catalog:
        outcomes: list[str] = []

        def claim() -> None:
            try:
                catalog.runs.start(RunKind.BACKUP, "s", "a", lease=lease_request(datetime.now(UTC)))
                outcomes.append("claimed")
            except RunActive:
                outcomes.append("refused")

        threads = [threading.Thread(target=claim) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["claimed"] + ["refused"] * 7
        assert len(list(catalog.runs.list())) == 1


def test_writers_wait_for_each_other_instead_of_failing(tmp_path: Path) -> None:
    with Catalog.open(tmp_path / "catalog.sqlite") as catalog:

        def write(number: int) -> None:
            for step in range(10):
                due = NOW + timedelta(seconds=number * 100 + step)
                catalog.runs.add(RunKind.BACKUP, f"s{number}", "a", due=due, now=NOW)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(list(catalog.runs.list())) == 40
