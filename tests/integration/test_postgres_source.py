"""PostgreSQL on a real server: one snapshot of everything, nothing half, proven before it has its name."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

from drbackup.errors import (
    DrbackupError,
    RestoreMismatch,
    SourceUnstable,
    TargetOccupied,
    ToolFailed,
    ToolMissing,
    ToolTooOld,
)
from drbackup.wire.specs import InPlaceTarget, Limits
from drbackup_agent.sources.base import Watch
from drbackup_agent.sources.kinds import open_source
from drbackup_agent.sources.postgres.restore import restore_postgres
from drbackup_agent.sources.postgres.snapshot import hold_snapshot
from drbackup_agent.sources.postgres.source import read_canary
from drbackup_agent.sources.postgres.spec import PostgresSpec
from drbackup_agent.sources.postgres.tables import tables_counted
from drbackup_agent.sources.postgres.tools import DatabaseAddress, PostgresTools, PsqlSession
from tests.support.doubles.source_runs import Run, SourceRuns
from tests.support.services.postgres import Database

pytestmark = pytest.mark.postgres

ODD = """CREATE SCHEMA "政务 schema/№1";
CREATE TABLE "政务 schema/№1"."a.b ""c"" \\n:x" (id int, "列 one" text, "new
line" text);
INSERT INTO "政务 schema/№1"."a.b ""c"" \\n:x"
  VALUES (1, E'tab\\tline\\nback\\\\slash', '企业'), (2, NULL, '\\N'), (3, '', '\\.');
CREATE TABLE plain (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n numeric, f float8, twice numeric
  GENERATED ALWAYS AS (n * 2) STORED, price money, span interval, made timestamptz, raw bytea, tags text[], doc jsonb);
INSERT INTO plain (n, f, price, span, made, raw, tags, doc) SELECT i / 7.0, i / 3.0::float8, i,
  i * interval '1 day 3 sec',
  timestamptz '2026-01-01 00:00+08' + i * interval '1 hour', decode(md5(i::text), 'hex'), ARRAY['x', NULL, i::text],
  jsonb_build_object('i', i) FROM generate_series(1, 500) i;
CREATE TABLE measure (at date, v int) PARTITION BY RANGE (at);
CREATE TABLE measure_2025 PARTITION OF measure FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE measure_rest PARTITION OF measure DEFAULT;
INSERT INTO measure SELECT date '2025-12-01' + i, i FROM generate_series(1, 60) i;
CREATE TABLE mother (a int); CREATE TABLE child (b int) INHERITS (mother);
INSERT INTO mother VALUES (1); INSERT INTO child VALUES (2, 3);
CREATE UNLOGGED TABLE quick (a int); INSERT INTO quick VALUES (1);
CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE only_generated (g int GENERATED ALWAYS AS (42) STORED); INSERT INTO only_generated DEFAULT VALUES;
CREATE TABLE dropped (a int, b int, c int); ALTER TABLE dropped DROP COLUMN b; INSERT INTO dropped VALUES (1, 3);
CREATE SEQUENCE alone START 77; SELECT nextval('alone');
CREATE MATERIALIZED VIEW summary AS SELECT count(*) FROM plain;
CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE kid (id int REFERENCES parent);
INSERT INTO parent VALUES (1); INSERT INTO kid VALUES (1);
SELECT lo_from_bytea(4242, 'a large object'::bytea);
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.a := 1000; RETURN NEW; END$$;
CREATE TRIGGER touch BEFORE INSERT ON dropped FOR EACH ROW EXECUTE FUNCTION touched();
CREATE EXTENSION IF NOT EXISTS pgcrypto;
COMMENT ON TABLE plain IS $$a comment
with two lines$$"""

LOOK = (
    'SELECT * FROM "政务 schema/№1"."a.b ""c"" \\n:x" ORDER BY id',
    "SELECT * FROM plain ORDER BY id",
    "SELECT tableoid::regclass, * FROM measure ORDER BY at",
    "SELECT * FROM mother",
    "SELECT * FROM quick",
    "SELECT count(*) FROM nothing",
    "SELECT * FROM only_generated",
    "SELECT * FROM dropped",
    "SELECT last_value, is_called FROM alone",
    "SELECT last_value FROM plain_id_seq",
    "SELECT * FROM summary",
    "SELECT convert_from(lo_get(4242), 'UTF8')",
    "SELECT conname, convalidated FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1",
    "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal",
    "SELECT obj_description('plain'::regclass)",
)


@pytest.fixture
def runs(tmp_path: Path) -> SourceRuns:
    return SourceRuns(tmp_path / "state")


def connection(spec: PostgresSpec) -> DatabaseAddress:
    return DatabaseAddress.of(spec)


def test_everything_a_database_can_hold_comes_back(database: Database, runs: SourceRuns) -> None:
    database.sql(*ODD.split(";\n"))
    before = database.sql(*LOOK)
    run = runs.backup(database.spec(jobs=3))
    spec = database.spec(database=database.other(), jobs=3)
    runs.restore(run, InPlaceTarget(spec))
    assert database.server.psql(spec.database, *LOOK) == before
    counts = list(tables_counted(run.reader, PostgresTools.find(), connection(spec)))
    assert len(counts) == 12
    assert all(count.matches for count in counts)
    assert run.written.rows == sum(count.wanted_rows for count in counts)


def test_rows_of_very_different_sizes_come_back_in_their_order(database: Database, runs: SourceRuns) -> None:
    """PostgreSQL may put a short row into room left on an earlier page; the digest would then differ."""
    database.sql(
        "CREATE TABLE mixed (id int, x text)",
        "ALTER TABLE mixed ALTER x SET STORAGE PLAIN",
        "INSERT INTO mixed SELECT i, repeat('x', (i * 7919) % 6000) FROM generate_series(1, 3000) i",
    )
    run = runs.backup(database.spec())
    spec = database.spec(database=database.other())
    runs.restore(run, InPlaceTarget(spec))
    assert all(count.matches for count in tables_counted(run.reader, PostgresTools.find(), connection(spec)))


def test_the_copy_is_one_instant_while_rows_move_between_tables(database: Database, runs: SourceRuns) -> None:
    """Accounts pay each other all the time, over two tables; a torn copy would create or lose money."""
    for name in ("left_side", "right_side"):
        database.sql(
            f"CREATE TABLE {name} (id int, amount int)",
            f"INSERT INTO {name} SELECT i, 100 FROM generate_series(1, 200) i",
        )
    stop = threading.Event()

    def pay() -> None:
        while not stop.is_set():
            database.sql(
                "BEGIN; UPDATE left_side SET amount = amount - 1; UPDATE right_side SET amount = amount + 1; COMMIT"
            )

    thread = threading.Thread(target=pay)
    thread.start()
    try:
        run = runs.backup(database.spec())
    finally:
        stop.set()
        thread.join()
    spec = database.spec(database=database.other())
    runs.restore(run, InPlaceTarget(spec))
    total = "SELECT sum(amount) FROM (SELECT amount FROM left_side UNION ALL SELECT amount FROM right_side) x"
    assert database.server.psql(spec.database, total) == str(2 * 200 * 100)


def test_the_scripts_alone_and_plain_psql_bring_it_back(database: Database, runs: SourceRuns, tmp_path: Path) -> None:
    """Break glass: no drbackup needed."""
    database.sql("CREATE TABLE t (id serial, x text)", "INSERT INTO t (x) VALUES ('企业'), (NULL)")
    runs.restore(runs.backup(database.spec()), tmp_path / "out")
    name = database.other()
    psql = [str(database.server.binaries / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-v", f"database={name}"]
    tables = sorted((tmp_path / "out" / "tables").iterdir())
    for where, script in [
        ("postgres", tmp_path / "out" / "create-database.sql"),
        (name, tmp_path / "out" / "pre-data.sql"),
        *((name, table) for table in tables),
        (name, tmp_path / "out" / "rest-of-data.sql"),
        (name, tmp_path / "out" / "post-data.sql"),
        (name, tmp_path / "out" / "settings.sql"),
    ]:
        argv = [*psql, "-d", where, "-f", str(script)]
        subprocess.run(argv, env=database.server.environment, check=True, capture_output=True, timeout=60)
    assert database.server.psql(name, "SELECT * FROM t") == "1|企业\n2|"
    assert database.server.psql(name, "SELECT nextval('t_id_seq')") == "3"


def test_a_database_keeps_its_settings_rights_and_locale(database: Database, runs: SourceRuns) -> None:
    database.sql(
        "CREATE TABLE t (x int)",
        "INSERT INTO t VALUES (1)",
        f'ALTER DATABASE {database.name} SET search_path TO public, "odd, one"',
        f"ALTER DATABASE {database.name} SET default_transaction_read_only TO on",
        f"COMMENT ON DATABASE {database.name} IS 'it''s \\ here'",
        f"REVOKE CONNECT ON DATABASE {database.name} FROM PUBLIC",
    )
    run = runs.backup(database.spec())
    spec = database.spec(database=database.other())
    runs.restore(run, InPlaceTarget(spec))
    look = """SELECT encoding, datcollate, datctype, shobj_description(oid, 'pg_database'),
        (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(datacl) a),
        (SELECT array_agg(c ORDER BY c) FROM pg_db_role_setting s, unnest(setconfig) c WHERE s.setdatabase = d.oid)
        FROM pg_database d WHERE datname = '{}'"""
    ask = database.server.psql
    assert ask("postgres", look.format(spec.database)) == ask("postgres", look.format(database.name))


def test_missing_roles_are_created_and_existing_ones_left_alone(database: Database, runs: SourceRuns) -> None:
    ask = database.server.psql
    ask(
        "postgres",
        "CREATE ROLE drb_old LOGIN",
        "CREATE ROLE \"drb New\" LOGIN PASSWORD 'secret'",
        'GRANT drb_old TO "drb New"',
    )
    try:
        database.sql("CREATE TABLE t (x int)", "INSERT INTO t VALUES (1)", 'ALTER TABLE t OWNER TO "drb New"')
        verifier = ask("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'drb New'")
        run = runs.backup(database.spec())
        database.drop()
        ask("postgres", 'DROP ROLE "drb New"', "ALTER ROLE drb_old NOLOGIN")
        runs.restore(run, InPlaceTarget(database.spec()))
        assert ask("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'drb New'") == verifier
        assert ask("postgres", "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'drb_old'") == "f"
        assert ask("postgres", "SELECT pg_has_role('drb New', 'drb_old', 'member')") == "t"
        assert database.sql("SELECT tableowner FROM pg_tables WHERE tablename = 't'") == "drb New"
    finally:
        database.drop()
        ask("postgres", 'DROP ROLE IF EXISTS "drb New"', "DROP ROLE drb_old")


# --- nothing half ---------------------------------------------------------------------------------------------------


def wrapped_tools(folder: Path, real: Path, **scripts: str) -> str:
    """A folder of client programs in which some are replaced by shell scripts."""
    folder.mkdir()
    for name in ("psql", "pg_dump", "pg_dumpall"):
        (folder / name).write_text(
            scripts.get(name, f'#!/bin/sh\nexec {real / name} "$@"\n').replace("REAL", str(real))
        )
        (folder / name).chmod(0o755)
    return str(folder)


FAILS_MIDWAY = """#!/bin/sh
case "$*" in *--version*) exec REAL/pg_dump --version;; *post-data*) echo "-- half a dump"
echo "pg_dump: error: disk on fire" >&2; exit 1;; esac
exec REAL/pg_dump "$@"
"""
KILLED = """#!/bin/sh
case "$*" in *post-data*) echo "-- half a dump"; kill -9 $$;; esac
exec REAL/pg_dump "$@"
"""
STALLS = """#!/bin/sh
case "$*" in *post-data*) echo "-- half a dump"; exec sleep 1000;; esac
exec REAL/pg_dump "$@"
"""


@pytest.mark.parametrize(
    ("script", "said"), [(FAILS_MIDWAY, "disk on fire"), (KILLED, "SIGKILL"), (STALLS, "moved no bytes")]
)
def test_a_dump_that_ends_badly_anywhere_fails_the_run(
    database: Database, runs: SourceRuns, tmp_path: Path, script: str, said: str
) -> None:
    database.sql("CREATE TABLE t (x int)", "INSERT INTO t VALUES (1)")
    tools = wrapped_tools(tmp_path / "tools", database.server.binaries, pg_dump=script)
    runs.limits = Limits(stall_seconds=2)
    with pytest.raises(ToolFailed, match=said):
        runs.backup(database.spec(tools=tools))


def test_a_table_whose_session_is_killed_fails_the_run_and_is_named(database: Database, runs: SourceRuns) -> None:
    database.sql("CREATE TABLE slow_one (x int)", "INSERT INTO slow_one SELECT generate_series(1, 3)")
    database.sql(
        "CREATE FUNCTION slowly(int) RETURNS text LANGUAGE sql AS 'SELECT pg_sleep(60)::text'",
        "CREATE TYPE slow AS (a int)",
    )
    source = open_source(database.spec(), runs.context(state_folder=runs.state))
    runs.state.mkdir()
    killed = threading.Event()

    class Murder(Watch):
        def check(self) -> None:
            if not killed.is_set():
                killed.set()
                database.server.psql(
                    "postgres",
                    f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database.name}'",
                )

    try:
        source.pin()
        with pytest.raises(ToolFailed, match=database.name), runs.vault.writer() as writer:
            source.copy(writer, Murder())
    finally:
        source.close()


def test_a_tool_older_than_the_server_is_refused_before_any_work(
    database: Database, runs: SourceRuns, tmp_path: Path
) -> None:
    old = '#!/bin/sh\ncase "$*" in *--version*) echo "pg_dump (PostgreSQL) 9.6.24"; exit 0;; esac\nexit 99\n'
    tools = wrapped_tools(tmp_path / "tools", database.server.binaries, pg_dump=old)
    with pytest.raises(ToolTooOld, match=r"9\.6"):
        runs.backup(database.spec(tools=tools))
    with pytest.raises(ToolMissing):
        runs.backup(database.spec(tools=str(tmp_path)))


def test_the_newest_tools_are_found(tmp_path: Path) -> None:
    for major in (9, 13, 14):
        folder = tmp_path / f"usr/lib/postgresql/{major}/bin"
        folder.mkdir(parents=True)
        for name in ("psql", "pg_dump", "pg_dumpall"):
            (folder / name).write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {major}.1'\n")
            (folder / name).chmod(0o755)
    path, os.environ["PATH"] = os.environ["PATH"], "/bin"
    try:
        assert PostgresTools.find(root=tmp_path).major >= 14
        with pytest.raises(ToolTooOld):
            PostgresTools.find(root=tmp_path, at_least=99)
    finally:
        os.environ["PATH"] = path


def test_a_table_truncated_between_the_snapshot_and_our_lock_is_not_copied_empty(
    database: Database, runs: SourceRuns
) -> None:
    """MVCC does not protect against TRUNCATE: without the second look the copy would hold an empty table."""
    database.sql("CREATE TABLE t (x int)", "INSERT INTO t VALUES (1)")
    tools = PostgresTools.find()

    class Racing(PsqlSession):
        def execute(self, sql: str) -> None:
            if sql.startswith("LOCK TABLE"):
                database.sql("TRUNCATE t", "INSERT INTO t VALUES (2)")
            super().execute(sql)

    with pytest.raises(SourceUnstable, match=r"public\.t was rewritten"):
        hold_snapshot(lambda: Racing(tools, connection(database.spec()), label="x"), 150000, time.time_ns)


def test_secrets_do_not_stand_in_argument_lists_or_messages(
    database: Database, runs: SourceRuns, tmp_path: Path
) -> None:
    (tmp_path / "pgpass").write_text("*:*:*:*:topsecret\n")
    (tmp_path / "pgpass").chmod(0o600)
    seen = """#!/bin/sh
case "$*" in *--version*) exec REAL/pg_dump --version;; esac
echo "$@" >&2; env | grep -i pass >&2; exit 1
"""
    tools = wrapped_tools(tmp_path / "tools", database.server.binaries, pg_dump=seen)
    with pytest.raises(ToolFailed) as caught:
        runs.backup(database.spec(tools=tools, password_file=str(tmp_path / "pgpass")))
    assert "topsecret" not in caught.value.message


# --- restoring ---------------------------------------------------------------------------------------------------


@pytest.fixture
def run(database: Database, runs: SourceRuns) -> Run:
    database.sql("CREATE TABLE t (id int PRIMARY KEY, x text)", "INSERT INTO t VALUES (1, 'good')")
    return runs.backup(database.spec())


def test_a_database_that_holds_things_is_refused_and_replaced_only_when_told(
    database: Database, run: Run, runs: SourceRuns
) -> None:
    database.sql("UPDATE t SET x = 'ransom'")
    with pytest.raises(TargetOccupied, match="holds"):
        runs.restore(run, InPlaceTarget(database.spec()))
    assert database.sql("SELECT x FROM t") == "ransom"
    result = runs.restore(run, InPlaceTarget(database.spec()), replace=True)
    assert database.sql("SELECT x FROM t") == "good"
    assert any("replaced" in note for note in result.notes)


def test_a_restore_that_fails_leaves_the_old_database_as_it_was(database: Database, run: Run, runs: SourceRuns) -> None:
    """A damaged post-data script: the data is there already, and still the old database keeps its name."""
    database.sql("UPDATE t SET x = 'old but alive'")
    entry = run.reader.find(b"tables/public.t.copy")
    assert entry is not None
    real = run.reader.content

    def damaged(asked: object) -> object:
        yield from (block.replace(b"good", b"g\0od") for block in real(asked))  # type: ignore[arg-type]

    run.reader.content = damaged  # type: ignore[method-assign, assignment]
    with pytest.raises(DrbackupError):
        runs.restore(run, InPlaceTarget(database.spec()), replace=True)
    assert database.sql("SELECT x FROM t") == "old but alive"


def test_rows_that_differ_after_the_restore_are_found(database: Database, runs: SourceRuns) -> None:
    """A domain's check lets the server change what it is given on the way in: char(3) pads."""
    database.sql("CREATE TABLE t (id int, x text)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    run = runs.backup(database.spec())
    real = run.reader.content

    def lying(asked: object) -> object:
        yield from (block.replace(b"2\tb\n", b"") for block in real(asked))  # type: ignore[arg-type]

    run.reader.content = lying  # type: ignore[method-assign, assignment]
    spec = database.spec(database=database.other())
    with pytest.raises(RestoreMismatch, match=r"public\.t: 1 rows"):
        restore_postgres(run.reader, spec, Watch())
    assert (
        database.server.psql("postgres", f"SELECT count(*) FROM pg_database WHERE datname = '{spec.database}'") == "0"
    )


def test_rows_of_every_length_lie_in_the_order_they_were_copied_in(database: Database, runs: SourceRuns) -> None:
    """Without care COPY puts a short row into the space that a long one left in an earlier page."""
    rows = "SELECT i, repeat('x', (i * 7919) % 900) FROM generate_series(1, 5000) i"
    database.sql("CREATE TABLE t (id int, x text)", f"INSERT INTO t {rows}", "UPDATE t SET x = x || 1 WHERE id % 3 = 0")
    run = runs.backup(database.spec())
    spec = database.spec(database=database.other())
    runs.restore(run, InPlaceTarget(spec))
    assert all(count.matches for count in tables_counted(run.reader, PostgresTools.find(), connection(spec)))


def test_a_script_from_a_compromised_server_can_not_run_programs_here(
    database: Database, runs: SourceRuns, tmp_path: Path, run: Run
) -> None:
    real = run.reader.content
    proof = tmp_path / "owned"

    def evil(asked: object) -> object:
        blocks = list(real(asked))  # type: ignore[arg-type]
        yield b"\n\\! touch " + os.fsencode(proof) + b"\n" + b"".join(blocks)

    run.reader.content = evil  # type: ignore[method-assign, assignment]
    with pytest.raises(DrbackupError):
        restore_postgres(run.reader, database.spec(database=database.other()), Watch())
    assert not proof.exists()


# --- canary ------------------------------------------------------------------------------------------------------


def test_the_canary_row_comes_back_with_the_instant_of_the_run(database: Database, runs: SourceRuns) -> None:
    database.sql("CREATE TABLE t (x int)", "INSERT INTO t VALUES (1)")
    runs.backup(database.spec(canary=True))
    run = runs.backup(database.spec(canary=True))
    spec = database.spec(database=database.other())
    runs.restore(run, InPlaceTarget(spec))
    assert read_canary(PostgresTools.find(), connection(spec)) == run.facts.canary_ns > 0
    assert run.substance.items == 1
    assert "/" in run.facts.position  # an LSN


def test_without_the_right_to_write_there_is_no_canary_but_a_backup(database: Database, runs: SourceRuns) -> None:
    ask = database.server.psql
    ask("postgres", "CREATE ROLE drb_reader LOGIN")
    try:
        database.sql("CREATE TABLE t (x int)", "INSERT INTO t VALUES (1)", "GRANT SELECT ON t TO drb_reader")
        run = runs.backup(database.spec(user="drb_reader", canary=True))
        assert run.facts.canary_ns == 0
        assert any("canary" in note for note in run.facts.notes)
        assert any("passwords" in note for note in run.facts.notes)
    finally:
        database.sql("DROP OWNED BY drb_reader")
        ask("postgres", "DROP ROLE drb_reader")


def test_a_table_that_may_not_be_read_fails_the_run(database: Database, runs: SourceRuns) -> None:
    ask = database.server.psql
    ask("postgres", "CREATE ROLE drb_blind LOGIN")
    try:
        database.sql("CREATE TABLE hidden_one (x int)", "INSERT INTO hidden_one VALUES (1)")
        with pytest.raises(ToolFailed, match="hidden_one"):
            runs.backup(database.spec(user="drb_blind"))
    finally:
        ask("postgres", "DROP ROLE drb_blind")


def test_dumps_are_the_same_from_run_to_run_and_their_key_is_private(
    database: Database, runs: SourceRuns, run: Run
) -> None:
    again = runs.backup(database.spec())
    assert again.written.new_bytes == 0
    assert stat.S_IMODE((runs.state / "restrict.key").stat().st_mode) == 0o600
