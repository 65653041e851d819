"""Restored copies in a drill's sandbox, one class for each kind of source: what a check may ask of them.

A copy is only ever read. Queries run without the right to write and with a time limit; what a database says when one
fails is cut down to its error's code, because a message may quote a row.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import msgspec
from blake3 import blake3

from drbackup.errors import DrbackupError, ToolFailed
from drbackup.model.point import SourceKind
from drbackup.vault.read.reader import PointReader
from drbackup.vault.tree import Entry, EntryKind
from drbackup_agent.drill.postgres_instance import SUPERUSER, PrivatePostgres, client_environment
from drbackup_agent.sources import sqlite
from drbackup_agent.sources.files import canary
from drbackup_agent.sources.pipeline import stream
from drbackup_agent.sources.postgres.canary import canary_ns
from drbackup_agent.sources.postgres.tables import tables_counted
from drbackup_agent.sources.postgres.tools import DatabaseAddress, PostgresTools

QUERY_SECONDS = 300
_TELLS_NO_CONTENT = frozenset(
    {
        "ObjectCorrupt",
        "ObjectMissing",
        "StoreUnavailable",
        "StoreRefused",
        "WrongKey",
        "FormatUnsupported",
        "ToolMissing",
        "ToolTooOld",
        "HostUnsuitable",
        "TargetFull",
        "UsageError",
    }
)


class Refuted(Exception):
    """A check that can't be measured as it was asked. The text names no content."""


class Counted(msgspec.Struct, frozen=True):
    """One table: rows and digest as recomputed, and as they were counted while the source was copied."""

    name: str
    rows: int
    wanted_rows: int
    digest: bytes
    wanted_digest: bytes


class RestoredCopy(Protocol):
    """One source's restored copy. ``folder``: where its files lie, None for a database server."""

    source: str
    kind: SourceKind
    reader: PointReader
    folder: Path | None

    def query(self, text: str) -> Iterator[bytes]:
        """Each row's only column as text, empty for NULL. Raises :class:`Refuted` when there are more columns."""
        ...

    def counted(self) -> Iterator[Counted]:
        """Every table, counted again on the copy."""
        ...

    def canary_ns(self) -> int:
        """The newest canary inside the data, UTC nanoseconds; 0 when there is none."""
        ...


@dataclass(slots=True)
class FilesCopy:
    """A directory tree, or a command's output."""

    source: str
    kind: SourceKind
    reader: PointReader
    folder: Path | None

    def query(self, text: str) -> Iterator[bytes]:
        raise Refuted(f"source {self.source} is no database, so it can't be queried")

    def counted(self) -> Iterator[Counted]:
        raise Refuted(f"source {self.source} is no database; use files: match")

    def canary_ns(self) -> int:
        assert self.folder is not None
        found = 0
        for entry in self.reader.entries():
            if entry.path.rsplit(b"/", 1)[-1] == canary.CANARY_NAME and entry.kind is EntryKind.FILE:
                path = os.path.join(os.fsencode(self.folder), entry.path)
                found = max(found, canary.read_canary(os.fsdecode(path)))
        return found


@dataclass(slots=True)
class SqliteCopy:
    """One SQLite file, opened read-only and as it is: not even a journal may be made beside it."""

    source: str
    kind: SourceKind
    reader: PointReader
    folder: Path | None

    def query(self, text: str) -> Iterator[bytes]:
        deadline = time.monotonic() + QUERY_SECONDS
        with closing(self._open()) as database:
            database.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
            try:
                cursor = database.execute(text)
                if cursor.description is None or len(cursor.description) != 1:
                    raise Refuted("the query gives not exactly one column")
                for (cell,) in cursor:
                    yield _cell(cell)
            except sqlite3.Error as bad:
                raise Refuted(f"the query failed: {bad.sqlite_errorname}") from bad

    def counted(self) -> Iterator[Counted]:
        """The whole file is one digest; the rows of its tables are counted for the report."""
        entry = self._entry()
        with closing(self._open()) as database:
            try:
                sound = [row[0] for row in database.execute("PRAGMA integrity_check(1)")] == ["ok"]
                names = [row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type='table'")]
                rows = sum(database.execute(f"SELECT count(*) FROM {_quoted(name)}").fetchone()[0] for name in names)
            except sqlite3.Error as bad:
                raise Refuted(f"the restored database can't be read: {bad.sqlite_errorname}") from bad
        if not sound:
            raise Refuted("the restored database fails its integrity check")
        with self._path().open("rb") as file:
            digest = blake3()
            while block := file.read(1 << 20):
                digest.update(block)
        yield Counted("database file", rows, rows, digest.digest(), entry.digest)

    def canary_ns(self) -> int:
        return sqlite.read_canary(str(self._path()))

    def _entry(self) -> Entry:
        entry = next((each for each in self.reader.entries() if each.kind is EntryKind.FILE), None)
        if entry is None:
            raise Refuted("the point holds no database file")
        return entry

    def _path(self) -> Path:
        assert self.folder is not None
        return self.folder / os.fsdecode(self._entry().path)

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(f"file:{quote(str(self._path()))}?mode=ro&immutable=1", uri=True)
        database.execute("PRAGMA query_only=ON")
        return database


@dataclass(slots=True)
class PostgresCopy:
    """A database in the drill's own throw-away server."""

    source: str
    kind: SourceKind
    reader: PointReader
    instance: PrivatePostgres
    database: str
    folder: Path | None = None

    def query(self, text: str) -> Iterator[bytes]:
        """The query runs inside COPY: it can be one SELECT and nothing else, and its rows stream."""
        environment = client_environment(self.instance, read_only=True, timeout_seconds=QUERY_SECONDS)
        # VERBOSITY=sqlstate: an error's own words may quote a row ("invalid input syntax for integer: …").
        words = ["-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=sqlstate", "-v", "SHOW_CONTEXT=never"]
        select = text.strip().rstrip(";").rstrip()
        argv = [str(self.instance.tools / "psql"), "-X", "-q", "-w", *words, "-d", self.database]
        blocks = stream(
            [*argv, "-c", f"COPY ({select}\n) TO STDOUT"],
            label="query",
            environment=environment,
            stall_seconds=QUERY_SECONDS + 30,
        )
        try:
            for line in _lines(blocks):
                if b"\t" in line:
                    raise Refuted("the query gives more than one column")
                yield _unescaped(line)
        except ToolFailed as failed:
            raise Refuted(f"the query failed: {_sqlstate(failed.message)}") from failed

    def counted(self) -> Iterator[Counted]:
        tools = PostgresTools.find(str(self.instance.tools))
        for each in tables_counted(self.reader, tools, self._connection, stall_seconds=QUERY_SECONDS):
            yield Counted(each.name, each.rows, each.wanted_rows, each.digest, each.wanted_digest)

    def canary_ns(self) -> int:
        return canary_ns(PostgresTools.find(str(self.instance.tools)), self._connection)

    @property
    def _connection(self) -> DatabaseAddress:
        return DatabaseAddress(
            self.database, str(self.instance.socket), self.instance.port, SUPERUSER, str(self.instance.no_passwords)
        )


def without_content(error: DrbackupError) -> str:
    """An error as a result may carry it: its words only where they name objects, tools and hosts, never data."""
    if error.code in _TELLS_NO_CONTENT:
        return f"{error.code}: {error.message}"
    if isinstance(error, ToolFailed):
        # PostgreSQL quotes every value it shows in its first line; the lines behind it may show whole rows.
        first = re.split(r"\b(?:DETAIL|CONTEXT|LINE \d+|STATEMENT|QUERY):", error.message)[0]
        unquoted = re.sub('".*"', '"…"', first, flags=re.DOTALL).strip(" |")
        return f"{error.code}: {unquoted}"
    return error.code


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _cell(cell: object) -> bytes:
    if cell is None:
        return b""
    if isinstance(cell, bytes):
        return cell
    return str(cell).encode("utf-8", "surrogateescape")


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    if rest:
        yield rest


_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def _unescaped(cell: bytes) -> bytes:
    """A cell of COPY's text format; empty for NULL."""
    if cell == b"\\N":
        return b""
    return re.sub(rb"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), cell, flags=re.DOTALL)


def _sqlstate(message: str) -> str:
    found = re.search(r"\b(?:ERROR|FATAL):\s+([0-9A-Z]{5})\b", message)
    return f"SQLSTATE {found[1]}" if found else "psql ended early"
