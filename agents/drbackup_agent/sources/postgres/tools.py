"""PostgreSQL's own client programs: how the right ones are found, how they connect, and a session that stays open.

Connections are given by the PG* environment only. So no database name is ever taken for a connection string, and no
password is in an argument list. Passwords come from a pgpass file or not at all; no program ever asks for one.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from msgspec.structs import replace

from drbackup.errors import ToolFailed, ToolMissing, ToolTooOld, say
from drbackup_agent.sources.pipeline import Child, output
from drbackup_agent.sources.postgres.spec import PostgresSpec

# Where Linux distributions put PostgreSQL's server and client programs.
TOOL_FOLDERS = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "usr/local/pgsql/bin", "opt/postgresql/*/bin")
_NEEDED = ("psql", "pg_dump", "pg_dumpall")
_VERSION = re.compile(r"(\d+)(?:\.(\d+))?")
# From these minor releases on, psql knows \restrict (CVE-2025-8714).
_RESTRICT_SINCE = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}

# What pg_dump sets, and what else makes the text of a row depend on a session.
SETTINGS = (
    "SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; SET DateStyle = 'ISO, YMD'; "
    "SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC'; SET extra_float_digits = 3; SET bytea_output = 'hex'; "
    "SET lc_monetary = 'C'; SET xmloption = content; SET synchronize_seqscans = off; SET row_security = off; "
    "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; "
    "SET max_parallel_workers_per_gather = 0; SET client_min_messages = warning; SET search_path = '';"
)


class PostgresTools(msgspec.Struct, frozen=True):
    """One folder of client programs of one version."""

    folder: Path
    major: int  # of pg_dump's version
    minor: int

    @classmethod
    def find(cls, folder: str = "", *, at_least: int = 0, root: Path = Path("/")) -> PostgresTools:
        """The programs in ``folder``, or the newest below ``root``.

        Raises :class:`ToolMissing`, or :class:`ToolTooOld` when they are older than major version ``at_least``.
        """
        if folder:
            found = cls.look(Path(folder))
            if found is None:
                raise ToolMissing(
                    say("{folder} has no {needed}", folder=folder, needed=", ".join(_NEEDED)), where=folder
                )
        else:
            places = {place for pattern in TOOL_FOLDERS for place in root.glob(pattern)}
            places |= {Path(place) for place in os.environ.get("PATH", "").split(os.pathsep) if place}
            known = [tools for place in sorted(places) if (tools := cls.look(place)) is not None]
            if not known:
                raise ToolMissing("pg_dump and psql are not installed", hint="install postgresql-client on the host")
            found = max(known, key=lambda tools: (tools.major, tools.minor))
        if found.major < at_least:
            raise ToolTooOld(
                say(
                    "pg_dump {major}.{minor} in {folder} is older than the server's version {at_least}",
                    major=found.major,
                    minor=found.minor,
                    folder=found.folder,
                    at_least=at_least,
                )
            )
        return found

    @classmethod
    def look(cls, folder: Path) -> PostgresTools | None:
        """The programs of one folder; None when one is missing. Raises :class:`ToolFailed` without a version."""
        if not all(os.access(folder / name, os.X_OK) for name in _NEEDED):
            return None
        said = output([str(folder / "pg_dump"), "--version"], label="pg_dump --version").decode("ascii", "replace")
        version = _VERSION.search(said)
        if version is None:
            raise ToolFailed(
                say("{folder}/pg_dump does not say its version: {said}", folder=folder, said=repr(said.strip()))
            )
        return cls(folder, int(version[1]), int(version[2] or 0))

    def path(self, name: str) -> str:
        """The full path of a program in the folder."""
        return str(self.folder / name)

    @property
    def version(self) -> str:
        """The version for messages, such as ``pg_dump 16.10``."""
        return f"pg_dump {self.major}.{self.minor}"

    @property
    def restricts(self) -> bool:
        """Whether its psql can forbid psql's own commands inside a script (``\\restrict``)."""
        return self.major >= 18 or self.minor >= _RESTRICT_SINCE.get(self.major, 1 << 30)


class DatabaseAddress(msgspec.Struct, frozen=True):
    """Where a database is and who connects. Empty fields take the client library's defaults."""

    database: str
    host: str = ""  # a name, an address or a socket folder
    port: int = 0  # 0: the default
    user: str = ""
    password_file: str = ""  # a pgpass file

    @classmethod
    def of(cls, spec: PostgresSpec) -> DatabaseAddress:
        """The address of a specification's database."""
        return cls(spec.database, spec.host, spec.port, spec.user, spec.password_file)

    def to(self, database: str) -> DatabaseAddress:
        """The address of another database on the same server."""
        return replace(self, database=database)

    def environment(self) -> dict[str, str]:
        """The programs' whole environment: this process's without its PG* settings (PGSSL* stay), and this address."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG") or name[:5] == "PGSSL"}
        wanted = {
            "PGDATABASE": self.database,
            "PGHOST": self.host,
            "PGPORT": str(self.port or ""),
            "PGUSER": self.user,
            "PGPASSFILE": self.password_file,
            "PGAPPNAME": "drbackup",
            "PGCONNECT_TIMEOUT": "20",
            "PGCLIENTENCODING": "UTF8",
            "LC_MESSAGES": "C",
        }
        return kept | {name: value for name, value in wanted.items() if value}


class PsqlSession:
    """One psql process that runs our statements one after the other in one server session. For one thread.

    Results come as COPY text, whose rows can't contain our end mark: COPY never writes a backslash followed by ``=``.
    The first error ends the session and is raised as :class:`ToolFailed` with psql's own message.
    """

    def __init__(
        self, tools: PostgresTools, connection: DatabaseAddress, *, label: str, stall_seconds: float = 0
    ) -> None:
        argv = [tools.path("psql"), "-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-f", "-"]
        self._child = Child(
            argv, label=label, environment=connection.environment(), stall_seconds=stall_seconds, pipes="both"
        )
        self._mark = b"\\=" + secrets.token_hex(8).encode() + b"\n"
        try:
            self.execute(SETTINGS)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def label(self) -> str:
        """What the session is doing, for messages."""
        return self._child.label

    @label.setter
    def label(self, text: str) -> None:
        self._child.label = text

    def execute(self, sql: str) -> None:
        """The statements have run; their output is dropped. Raises :class:`ToolFailed`."""
        for _ in self._run(sql):
            pass

    def rows(self, query: str) -> list[tuple[str | None, ...]]:
        """A query's rows as text, None for NULL. Raises :class:`ToolFailed`."""
        text = b"".join(self.copy_out(f"COPY ({query}) TO STDOUT"))
        cells = (map(unescaped, line.split(b"\t")) for line in text.split(b"\n")[:-1])
        return [tuple(None if cell is None else cell.decode() for cell in row) for row in cells]

    def value(self, query: str) -> str:
        """A query's one value as text, empty for NULL. Raises :class:`ToolFailed`."""
        return self.rows(query)[0][0] or ""

    def copy_out(self, statement: str) -> Iterator[bytes]:
        """The output of one ``COPY … TO STDOUT`` in blocks. Iterating raises :class:`ToolFailed`."""
        return self._run(statement + ";")

    def close(self) -> None:
        """The session has ended, and the server rolls its transaction back. Safe at any time and twice."""
        self._child.kill()

    def _run(self, sql: str) -> Iterator[bytes]:
        mark = self._mark
        echo = mark[:-1].decode().replace("\\", "\\\\")
        self._child.write(f"{sql}\n\\echo '{echo}'\n".encode())
        held = b""
        while True:
            block = self._child.read()
            if not block:
                self._child.finish()  # raises with psql's message
                raise ToolFailed(say("{label}: psql ended early", label=self.label))
            held += block
            if held.endswith(mark):
                if len(held) > len(mark):
                    yield held[: -len(mark)]
                return
            if len(held) > len(mark):
                yield held[: -len(mark)]
                held = held[-len(mark) :]


_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def unescaped(cell: bytes) -> bytes | None:
    """The bytes of a cell in COPY's text format; None for NULL."""
    if cell == b"\\N":
        return None
    if b"\\" not in cell:
        return cell
    return re.sub(rb"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), cell, flags=re.DOTALL)


def quoted(name: str) -> str:
    """The name as a quoted SQL identifier on one line: control characters become escapes of ``U&""``."""
    doubled = name.replace('"', '""')
    if name.isprintable():
        return f'"{doubled}"'
    escaped = "".join(each if each.isprintable() else f"\\+{ord(each):06x}" for each in doubled.replace("\\", "\\\\"))
    return f'U&"{escaped}"'


def literal(text: str) -> str:
    """The text as an SQL literal that means the same under all server settings."""
    doubled = text.replace("'", "''")
    return f"'{doubled}'" if "\\" not in text else "E'" + doubled.replace("\\", "\\\\") + "'"
