"""One PostgreSQL database, copied logically at one exported snapshot.

The tree is a folder of scripts that plain psql runs in this order: ``globals.sql``, ``create-database.sql``,
``pre-data.sql``, ``tables/*.copy``, ``rest-of-data.sql``, ``post-data.sql``, ``settings.sql``.

Definitions come from pg_dump's sections. Each table's rows are one COPY stream of their own (ADR 0002). Sequence values
and large objects come from pg_dump's data section, with every copied table excluded. So whatever is no copied table is
in that section, and nothing is left out.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from drbackup.errors import DrbackupError, ToolFailed, ToolTooOld, say
from drbackup.model.point import SourceFacts
from drbackup.vault.tree import Entry, EntryKind
from drbackup.vault.write.writer import Content, PointWriter
from drbackup.wire.messages import PreflightCheck
from drbackup_agent.sources.base import Pin, SourceContext, Substance, Watch
from drbackup_agent.sources.pipeline import stream
from drbackup_agent.sources.postgres.canary import CANARY_PATH, canary_ns, write_canary
from drbackup_agent.sources.postgres.copy import Copied, copy_tables
from drbackup_agent.sources.postgres.facts import creation_script, role_passwords_readable, settings_script
from drbackup_agent.sources.postgres.snapshot import Snapshot, hold_snapshot
from drbackup_agent.sources.postgres.spec import PostgresSpec
from drbackup_agent.sources.postgres.tables import TABLES
from drbackup_agent.sources.postgres.tools import DatabaseAddress, PostgresTools, PsqlSession

GLOBALS = b"globals.sql"
CREATION = b"create-database.sql"
PRE_DATA = b"pre-data.sql"
REST_OF_DATA = b"rest-of-data.sql"
POST_DATA = b"post-data.sql"
SETTINGS_FILE = b"settings.sql"
_LARGE_OBJECTS = "SELECT count(*) FROM pg_catalog.pg_largeobject_metadata"
_TABLESPACES = """SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.reltablespace <> 0 AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"""


class PostgresSource:
    """The database of ``spec`` as a :class:`~drbackup_agent.sources.base.Source`."""

    kind = "postgres"

    def __init__(self, spec: PostgresSpec, context: SourceContext) -> None:
        self._spec = spec
        self._context = context
        self._connection = DatabaseAddress.of(spec)
        self._snapshot: Snapshot | None = None
        self._tools: PostgresTools | None = None
        self._server = 0
        self._server_text = ""
        self._canary_ns = 0
        self._canary_note = ""
        self._rows = self._bytes = self._large_objects = 0

    # --- the Source protocol -------------------------------------------------------------------------------------

    def preflight(self) -> list[PreflightCheck]:
        checks, database = [], f"database {self._spec.database}"
        try:
            tools = self._find_tools()
            checks.append(PreflightCheck("tools", True, f"{tools.version} in {tools.folder}"))
            checks.append(PreflightCheck(database, True, f"PostgreSQL {self._server_text}"))
        except DrbackupError as bad:
            checks.append(PreflightCheck(database, False, bad.message))
        return checks

    def pin(self) -> Pin:
        self._tools = self._find_tools()
        if self._spec.canary:
            now = self._context.clock_ns() // 1000 * 1000  # the column holds microseconds
            self._canary_note = write_canary(self._session, now)
            self._canary_ns = 0 if self._canary_note else now
        self._snapshot = hold_snapshot(lambda: self._session("snapshot"), self._server, self._context.clock_ns)
        return Pin(self._snapshot.taken_ns, self._snapshot.position)

    def copy(self, writer: PointWriter, watch: Watch) -> SourceFacts:
        assert self._snapshot is not None
        assert self._tools is not None
        if self._canary_note:
            watch.note(self._canary_note)
        with copy_tables(self._session, self._snapshot, writer, watch, self._spec.jobs) as tables:
            scripts = {name: writer.stream(_watched(blocks, watch)) for name, blocks in self._scripts(watch)}
            copied = tables.result()
        self._add(writer, scripts, copied)
        self._large_objects = int(self._snapshot.session.value(_LARGE_OBJECTS))
        return SourceFacts(
            pinned_ns=self._snapshot.taken_ns,
            kind=self.kind,
            tool=self._tools.version,
            server=self._server_text,
            position=self._snapshot.position,
            canary_ns=self._canary_ns,
            notes=watch.notes,
        )

    def substance(self) -> Substance:
        return Substance(self._rows + self._large_objects, self._bytes, say("rows and large objects"))

    def remember(self) -> None:
        """Nothing is remembered between runs."""

    def close(self) -> None:
        if self._snapshot is not None:
            self._snapshot.session.close()
            self._snapshot = None

    # --- parts ---------------------------------------------------------------------------------------------------

    def _session(self, label: str) -> PsqlSession:
        assert self._tools is not None
        stall = self._context.limits.stall_seconds
        what = f"database {self._spec.database}: {label}"
        return PsqlSession(self._tools, self._connection, label=what, stall_seconds=stall)

    def _find_tools(self) -> PostgresTools:
        """The tools that may dump this server. Raises :class:`ToolTooOld` at once: pg_dump refuses only after work."""
        self._tools = PostgresTools.find(self._spec.tools)
        with self._session("connect") as session:
            self._server = int(session.value("SELECT pg_catalog.current_setting('server_version_num')"))
            self._server_text = session.value("SELECT pg_catalog.current_setting('server_version')").split()[0]
        if self._tools.major < self._server // 10000:
            raise ToolTooOld(
                say(
                    "{version} ({folder}) is older than the server, PostgreSQL {server_text}",
                    version=self._tools.version,
                    folder=self._tools.folder,
                    server_text=self._server_text,
                )
            )
        return self._tools

    def _scripts(self, watch: Watch) -> Iterator[tuple[bytes, Iterable[bytes]]]:
        assert self._snapshot is not None
        session = self._snapshot.session
        yield CREATION, [creation_script(session, self._server)]
        if self._spec.globals:
            yield GLOBALS, self._globals(watch)
        excluded = [f'--exclude-table-data="{_doubled(t.schema)}"."{_doubled(t.name)}"' for t in self._snapshot.tables]
        yield PRE_DATA, self._dump("pre-data", [])
        yield POST_DATA, self._dump("post-data", [])
        if self._snapshot.standby:
            excluded.append("--no-unlogged-table-data")
        yield REST_OF_DATA, self._dump("data", excluded)
        yield SETTINGS_FILE, [settings_script(session)]
        if session.value(_TABLESPACES) != "0":
            watch.note("tablespaces are used; a restore puts everything into the default one")

    def _dump(self, section: str, options: list[str]) -> Iterator[bytes]:
        assert self._tools is not None
        assert self._snapshot is not None
        words = [f"--section={section}", f"--snapshot={self._snapshot.name}", "--no-tablespaces", "--no-password"]
        words += ["--encoding=UTF8", "--lock-wait-timeout=60000", *options]
        return self._run("pg_dump", section, words)

    def _globals(self, watch: Watch) -> Iterator[bytes]:
        assert self._snapshot is not None
        words = ["--globals-only", "--no-password"]
        if not any(sign in self._spec.database for sign in ("=", "://")):  # it would be taken for a connection string
            words.append(f"--database={self._spec.database}")
        if not role_passwords_readable(self._snapshot.session):
            words.append("--no-role-passwords")
            watch.note("the roles' passwords may not be read by this account: roles come back without passwords")
        return self._run("pg_dumpall", "globals", words)

    def _run(self, program: str, what: str, words: list[str]) -> Iterator[bytes]:
        assert self._tools is not None
        if self._tools.restricts:
            words = [*words, f"--restrict-key={restrict_key(self._context.state_folder)}"]
        return stream(
            [self._tools.path(program), *words],
            label=f"database {self._spec.database}: {what}",
            environment=self._connection.environment(),
            stall_seconds=self._context.limits.stall_seconds,
        )

    def _add(self, writer: PointWriter, scripts: dict[bytes, Content], tables: dict[bytes, Copied]) -> None:
        assert self._snapshot is not None
        stamp = self._snapshot.taken_ns
        for name in sorted(scripts):
            if not scripts[name].size:
                raise ToolFailed(
                    say("database {database}: {name} came out empty", database=self._spec.database, name=name.decode())
                )
            writer.add(Entry(name, EntryKind.FILE, 0o600, mtime_ns=stamp, atime_ns=stamp), scripts[name])
            self._bytes += scripts[name].size
        writer.add(Entry(TABLES, EntryKind.DIR, 0o700, mtime_ns=stamp, atime_ns=stamp))
        for path in sorted(tables):
            table = tables[path]
            rows = -1 if table.of_extension else table.rows
            writer.add(Entry(path, EntryKind.FILE, 0o600, mtime_ns=stamp, atime_ns=stamp, rows=rows), table.content)
            self._bytes += table.content.size
            if path != CANARY_PATH:
                self._rows += table.rows


def read_canary(tools: PostgresTools, connection: DatabaseAddress) -> int:
    """The UTC nanoseconds of a (restored) database's canary; 0 without one. Raises :class:`ToolFailed`."""
    return canary_ns(tools, connection)


def restrict_key(state_folder: Path) -> str:
    """The word that ends psql's restricted mode in our dumps, made once for each state folder.

    It is secret: somebody who names a table could end the mode with it (CVE-2025-8714). It stays the same, because a
    new word in every dump would make each one different.
    """
    path = state_folder / "restrict.key"
    if not path.exists():
        state_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = state_folder / f"restrict.{os.getpid()}.new"
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            file.write(secrets.token_hex(24))
        with contextlib.suppress(FileExistsError):  # another session of this agent was first: its word is used
            os.link(fresh, path)  # complete or not at all, so that nobody reads half a word
        fresh.unlink()
    return path.read_text(encoding="ascii").strip()


def _doubled(name: str) -> str:
    return name.replace('"', '""')


def _watched(blocks: Iterable[bytes], watch: Watch) -> Iterator[bytes]:
    for block in blocks:
        watch.check()
        yield block
