"""Restoring a PostgreSQL database from its scripts, which is proven before it gets its name.

Everything is restored into a database with a temporary name on the same server. It gets its real name only when every
table was read again and is the same as the copied one. An existing database that may be replaced is dropped only then.

A crash before that leaves the old database as it was, and at most the temporary one. A crash between the drop and the
new name leaves only the temporary one. In both cases the next attempt drops that and restores again.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec

from drbackup.errors import DrbackupError, PointMissing, RestoreMismatch, TargetOccupied, ToolFailed, say
from drbackup.system.console import one_line
from drbackup.vault.read.reader import PointReader
from drbackup.vault.tree import Entry, EntryKind
from drbackup.wire.messages import RestoreResult
from drbackup_agent.sources.base import Watch
from drbackup_agent.sources.postgres.roles import missing_roles
from drbackup_agent.sources.postgres.scripts import run_script
from drbackup_agent.sources.postgres.source import CREATION, GLOBALS, POST_DATA, PRE_DATA, REST_OF_DATA, SETTINGS_FILE
from drbackup_agent.sources.postgres.spec import PostgresSpec
from drbackup_agent.sources.postgres.tables import TABLES, count_table, loaded_table, stored_header
from drbackup_agent.sources.postgres.tools import DatabaseAddress, PostgresTools, PsqlSession, literal, quoted

_SUFFIX = "_drbackup_restoring"
_MAINTENANCE = ("postgres", "template1")
_IN_USE = """SELECT count(*) FROM (
SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL SELECT p.oid FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL SELECT oid FROM pg_catalog.pg_namespace
  WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public')
UNION ALL SELECT oid FROM pg_catalog.pg_largeobject_metadata) AS things"""


class _Request(msgspec.Struct, frozen=True):
    reader: PointReader
    spec: PostgresSpec
    replace: bool
    stall_seconds: float


def restore_postgres(
    reader: PointReader, spec: PostgresSpec, watch: Watch, *, replace: bool = False, stall_seconds: float = 0
) -> RestoreResult:
    """The result of restoring the whole database to where ``spec`` says. Every table was counted again.

    Raises :class:`TargetOccupied`, :class:`ToolFailed` naming the script or table, or :class:`RestoreMismatch`.
    """
    return _DatabaseRestore(_Request(reader, spec, replace, stall_seconds), watch).run()


class _DatabaseRestore:
    def __init__(self, request: _Request, watch: Watch) -> None:
        self._request = request
        self._watch = watch
        self._tools = PostgresTools.find(request.spec.tools)
        self._wanted = request.spec.database
        self._ours = self._wanted.encode()[: 63 - len(_SUFFIX)].decode("utf-8", "ignore") + _SUFFIX
        self._reader = request.reader
        self._mutex = threading.Lock()  # a reader is for one thread at a time
        self._server = self._reach_server()
        if not self._tools.restricts:
            watch.note(f"psql {self._tools.major}.{self._tools.minor} can't forbid commands inside a script: update it")

    def run(self) -> RestoreResult:
        self._require_free()
        if self._request.spec.globals:
            self._restore_roles()
        self._create()
        connection = DatabaseAddress.of(self._request.spec).to(self._ours)
        self._script(PRE_DATA, connection)
        tables = [entry for entry in self._reader.entries(TABLES) if entry.kind == EntryKind.FILE]
        self._in_parallel(tables, lambda entry: self._load(entry, connection))
        self._script(REST_OF_DATA, connection)
        self._script(POST_DATA, connection)
        self._sql("ANALYZE;", self._ours)
        self._in_parallel(tables, lambda entry: self._recount(entry, connection))
        self._take_name()
        files = [entry for entry in self._reader.entries() if entry.kind == EntryKind.FILE]
        size = sum(entry.size for entry in files)
        return RestoreResult(len(files), len(files), size, notes=self._watch.notes)

    # --- before --------------------------------------------------------------------------------------------------

    def _reach_server(self) -> DatabaseAddress:
        """The address of a database on the server that is not the one to be replaced."""
        error: DrbackupError | None = None
        for name in _MAINTENANCE:
            if name == self._wanted:
                continue
            connection = DatabaseAddress.of(self._request.spec).to(name)
            try:
                with self._session(connection, "connect") as session:
                    session.value("SELECT 1")
            except ToolFailed as failed:
                error = error or failed
            else:
                return connection
        assert error is not None
        raise error

    def _require_free(self) -> None:
        with self._session(self._server, "look") as session:
            names = {row[0] for row in session.rows("SELECT datname FROM pg_catalog.pg_database")}
        if self._wanted not in names or self._request.replace:
            return
        with self._session(DatabaseAddress.of(self._request.spec), "look") as session:
            things = session.value(_IN_USE)
        if things != "0":
            raise TargetOccupied(
                say("the database {wanted} holds {things} things", wanted=self._wanted, things=things),
                where=self._wanted,
                hint="choose another name, or say --replace: it is then dropped once the restored one is proven",
            )

    def _restore_roles(self) -> None:
        script = self._whole(GLOBALS)
        if script is None:
            return
        with self._session(self._server, "roles") as session:
            existing = [row[0] or "" for row in session.rows("SELECT rolname FROM pg_catalog.pg_roles")]
        lines, new = missing_roles(script, existing)
        if new:
            self._run([lines], "roles", self._server)
            self._watch.note(f"roles created: {', '.join(new)}")

    def _create(self) -> None:
        self._sql(f"DROP DATABASE IF EXISTS {quoted(self._ours)};", self._server.database)
        script = self._whole(CREATION)
        if script is None:
            raise PointMissing("the point holds no database")
        try:
            self._run([script], "create the database", self._server)
        except ToolFailed as failed:
            if "locale" not in failed.message.lower():
                raise
            # A drill host need not have the locale; the rows are the same, only the order of sorted text differs.
            self._watch.note(f"the server here lacks the database's locale, C is used: {failed.message}")
            encoding = script.partition(b"ENCODING '")[2].partition(b"'")[0].decode("ascii", "replace") or "UTF8"
            words = f"TEMPLATE template0 ENCODING {literal(encoding)} LC_COLLATE 'C' LC_CTYPE 'C'"
            self._sql(f"CREATE DATABASE {quoted(self._ours)} {words};", self._server.database)

    # --- data ----------------------------------------------------------------------------------------------------

    def _script(self, name: bytes, connection: DatabaseAddress) -> None:
        entry = self._reader.find(name)
        if entry is None:
            raise PointMissing(say("the point holds no {name}", name=name.decode()))
        self._run(self._blocks(entry), name.decode(), connection)

    def _load(self, entry: Entry, connection: DatabaseAddress) -> None:
        header = self._header(entry)  # anything but a table's stream must not reach the server
        blocks = self._blocks(entry)
        if entry.rows >= 0:
            # In the transaction that truncates a table, COPY does not look for free space in earlier pages, so the rows
            # lie in the order they were copied in and can be compared as a stream. It also need not write them twice.
            begin = b"BEGIN;\nTRUNCATE TABLE ONLY " + loaded_table(header) + b";\n"
            blocks = itertools.chain([begin], blocks, [b"COMMIT;\n"])
        self._run(blocks, _table(entry), connection)

    def _recount(self, entry: Entry, connection: DatabaseAddress) -> None:
        if entry.rows < 0:
            return
        with self._session(connection, "count") as session:
            count = count_table(session, entry, self._header(entry))
        if count.rows != count.wanted_rows:
            raise RestoreMismatch(
                say(
                    "table {count}: {rows} rows were restored, {wanted_rows} were copied",
                    count=count.name,
                    rows=count.rows,
                    wanted_rows=count.wanted_rows,
                ),
                where=count.name,
            )
        if not count.matches:
            raise RestoreMismatch(
                say("table {count}: the restored rows differ from the copied ones", count=count.name), where=count.name
            )

    def _in_parallel(self, entries: list[Entry], work: Callable[[Entry], None]) -> None:
        """Does the work for every entry, the largest first. After the first failure no other is begun."""
        queue = deque(sorted(entries, key=lambda entry: entry.size, reverse=True))
        jobs = max(1, min(self._request.spec.jobs, len(queue)))

        def work_off() -> None:
            while True:
                try:
                    entry = queue.popleft()
                except IndexError:
                    return
                self._watch.check()
                work(entry)

        with ThreadPoolExecutor(jobs, thread_name_prefix="restore-table") as pool:
            workers = [pool.submit(work_off) for _ in range(jobs)]
            try:
                for worker in workers:
                    worker.result()
            except BaseException:
                queue.clear()
                raise

    # --- after ---------------------------------------------------------------------------------------------------

    def _take_name(self) -> None:
        with self._session(self._server, "look") as session:
            there = session.value(
                f"SELECT count(*) FROM pg_catalog.pg_database WHERE datname = {literal(self._wanted)}"
            )
            force = (
                " WITH (FORCE)" if int(session.value("SELECT current_setting('server_version_num')")) >= 130000 else ""
            )
        if there != "0":
            self._sql(f"DROP DATABASE {quoted(self._wanted)}{force};", self._server.database)
            self._watch.note(f"the database {self._wanted} that was there is gone: replaced by the restored one")
        self._sql(f"ALTER DATABASE {quoted(self._ours)} RENAME TO {quoted(self._wanted)};", self._server.database)
        settings = self._whole(SETTINGS_FILE)
        if settings:
            self._run([settings], "settings", self._server, database=self._wanted)

    # --- programs ------------------------------------------------------------------------------------------------

    def _session(self, connection: DatabaseAddress, label: str) -> PsqlSession:
        what = f"database {connection.database}: {label}"
        return PsqlSession(self._tools, connection, label=what, stall_seconds=self._request.stall_seconds)

    def _sql(self, statement: str, database: str) -> None:
        with self._session(DatabaseAddress.of(self._request.spec).to(database), statement.partition(" ")[0]) as session:
            session.execute(statement)

    def _run(
        self, blocks: Iterator[bytes] | list[bytes], what: str, connection: DatabaseAddress, database: str = ""
    ) -> None:
        run_script(
            self._tools,
            connection,
            blocks,
            label=f"database {self._wanted}: {what}",
            stall_seconds=self._request.stall_seconds,
            variables={"database": database or self._ours},
        )

    def _header(self, entry: Entry) -> bytes:
        with self._mutex:
            return stored_header(self._reader, entry)

    def _blocks(self, entry: Entry) -> Iterator[bytes]:
        with self._mutex:
            blocks = self._reader.content(entry)
        while True:
            self._watch.check()
            with self._mutex:
                block = next(blocks, None)
            if block is None:
                return
            yield block

    def _whole(self, name: bytes) -> bytes | None:
        entry = self._reader.find(name)
        return None if entry is None else b"".join(self._blocks(entry))


def _table(entry: Entry) -> str:
    return f"table {one_line(entry.path).removeprefix('tables/').removesuffix('.copy')}"
