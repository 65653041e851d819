"""The bureaus' database servers: a private PostgreSQL cluster each, or a SQLite file where PostgreSQL is not installed.

Owns how a server is made, loaded, read, destroyed and made anew. A server listens only on a socket in the demo's own
folder. PostgreSQL refuses to run as root, so root runs it under an unprivileged account.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import sqlite3
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from drbackup.cli.demo_city.registers import RegisterTable
from drbackup.errors import ToolFailed, say

_SECONDS = 60  # for one command of PostgreSQL
_WORDS_SAID = 4  # of a command, to name it in an error


class Server(Protocol):
    """One bureau's database. Its methods raise :class:`ToolFailed`, OSError, TimeoutExpired, or sqlite3's errors."""

    database: str  # the database's name

    def deliver(self) -> None:
        """An empty, running server, as on a new machine."""
        ...

    def load(self, tables: Sequence[RegisterTable]) -> None:
        """A new database with these tables and their rows."""
        ...

    def execute(self, statement: str) -> None:
        """One SQL statement, carried out and committed. It must be one that both engines understand."""
        ...

    def fingerprint(self) -> dict[str, str]:
        """Every table: name → row count and the first 32 hex digits of the SHA-256 of its sorted rows."""
        ...

    def burn(self) -> None:
        """The server is stopped, and all its files are deleted."""
        ...

    def source(self) -> dict[str, object]:
        """The database as a source in a policy, without name and agent."""
        ...


class SqliteServer:
    """A bureau whose register is one SQLite file."""

    def __init__(self, folder: Path, database: str) -> None:
        self.database = database
        self._folder = folder
        self._file = folder / f"{database}.db"

    def deliver(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)

    def load(self, tables: Sequence[RegisterTable]) -> None:
        with closing(sqlite3.connect(self._file)) as connection, connection:
            for table in tables:
                columns = ", ".join(f"{name} {kind}" for name, kind in table.columns)
                connection.execute(f"create table {table.name} ({columns})")
                marks = ", ".join("?" * len(table.columns))
                connection.executemany(f"insert into {table.name} values ({marks})", table.rows)

    def execute(self, statement: str) -> None:
        with closing(sqlite3.connect(self._file)) as connection, connection:
            connection.execute(statement)

    def fingerprint(self) -> dict[str, str]:
        if not self._file.exists():
            return {}
        with closing(sqlite3.connect(self._file)) as connection:
            names = [row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")]
            return {
                name: _digest(repr(row).encode() for row in connection.execute(f'select * from "{name}"'))
                for name in sorted(names)
            }

    def burn(self) -> None:
        shutil.rmtree(self._folder)

    def source(self) -> dict[str, object]:
        return {"sqlite": {"path": str(self._file)}}


class PostgresServer:
    """A bureau with its own PostgreSQL cluster on a private socket."""

    def __init__(self, tools: Path, folder: Path, database: str, template: Path) -> None:
        """``tools``: the folder of PostgreSQL's programs; ``template``: an initialised cluster to copy."""
        self.database = database
        self._tools = tools
        self._folder = folder
        self._template = template

    def deliver(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        _give(self._folder)
        data = self._folder / "data"
        run_unprivileged(["cp", "-a", "--reflink=auto", str(self._template), str(data)])
        options = f"-c unix_socket_directories={self._folder} -c listen_addresses="
        log = str(self._folder / "log")
        self._tool("pg_ctl", "-D", str(data), "-l", log, "-o", options, "-w", "-t", str(_SECONDS), "start")

    def load(self, tables: Sequence[RegisterTable]) -> None:
        self._sql("postgres", f'create database "{self.database}" template template0 encoding UTF8;')
        for table in tables:
            columns = ", ".join(f"{name} {kind}" for name, kind in table.columns)
            lines = ["\t".join(str(value) for value in row) for row in table.rows]
            copy = f"copy {table.name} from stdin;\n" + "\n".join(lines) + "\n\\.\n"
            self._sql(self.database, f"create table {table.name} ({columns});\n{copy}analyze {table.name};\n")

    def execute(self, statement: str) -> None:
        self._sql(self.database, statement + ";")

    def fingerprint(self) -> dict[str, str]:
        listing = self._sql("postgres", f"select 1 from pg_database where datname = '{self.database}';")
        if not listing.strip():
            return {}
        names = self._sql(
            self.database,
            "select format('%I.%I', schemaname, tablename) from pg_tables"
            " where schemaname not in ('pg_catalog', 'information_schema') order by 1;",
        ).split()
        return {
            name: _digest(self._sql(self.database, f"copy {name} to stdout;").encode().splitlines()) for name in names
        }

    def burn(self) -> None:
        if (self._folder / "data" / "postmaster.pid").exists():
            self._tool("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "-w", "stop")
        shutil.rmtree(self._folder)

    def source(self) -> dict[str, object]:
        return {"postgres": {"database": self.database, "host": str(self._folder), "user": "postgres"}}

    def _sql(self, database: str, script: str) -> str:
        command = ["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-h", str(self._folder), "-U", "postgres"]
        return self._tool(*command, "-d", database, "-f", "-", feed=script)

    def _tool(self, program: str, *arguments: str, feed: str = "") -> str:
        return run_unprivileged([str(self._tools / program), *arguments], feed=feed)


def postgres_tools() -> Path | None:
    """The folder of the newest installed PostgreSQL server; None when there is none."""
    # Debian's folder and PATH only: this package may not import the agent's list, and any one server will do.
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    found.sort(key=lambda folder: int(folder.parent.name) if folder.parent.name.isdigit() else 0)
    if found:
        return found[-1]
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def make_template(tools: Path, folder: Path) -> None:
    """A new initialised cluster in ``folder``, small and without fsync; every bureau gets a copy of it.

    Its data need not survive a crash: the demo destroys it anyway. Raises :class:`ToolFailed`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _give(folder.parent)
    command = [str(tools / "initdb"), "-D", str(folder), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]
    run_unprivileged([*command, "--no-sync", "--wal-segsize=1", "--no-instructions"])
    settings = "shared_buffers = 16MB\nmax_connections = 30\nmin_wal_size = 4MB\nfsync = off\nautovacuum = off\n"
    with (folder / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write(settings)


def run_unprivileged(command: Sequence[str], *, feed: str = "") -> str:
    """The stdout of a program, run as the account that may run PostgreSQL; empty for ``pg_ctl``.

    ``feed``: its stdin. Raises :class:`ToolFailed` for an exit code other than 0, subprocess.TimeoutExpired after 60 s.
    """
    account = _account()
    identity = {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    environment = {**os.environ, "LC_ALL": "C", "PGCLIENTENCODING": "UTF8"}
    # a started server keeps pg_ctl's stdout open, so a pipe would not end; its output is in pg_ctl's log file
    detached = Path(command[0]).name == "pg_ctl"
    done = subprocess.run(
        command,
        input=feed.encode(),
        stdout=subprocess.DEVNULL if detached else subprocess.PIPE,
        stderr=subprocess.DEVNULL if detached else subprocess.PIPE,
        env=environment,
        cwd="/",
        timeout=_SECONDS,
        check=False,
        **identity,  # type: ignore[call-overload]
    )
    if done.returncode:
        said = (done.stderr or b"").decode(errors="replace").strip()
        raise ToolFailed(
            say("{command} ended with {returncode}: {said}", command=command[0], returncode=done.returncode, said=said),
            where=" ".join(command[:_WORDS_SAID]),
        )
    return (done.stdout or b"").decode()


def _account() -> pwd.struct_passwd | None:
    """The account for PostgreSQL when we are root: postgres, else nobody. None when we are not root.

    Raises :class:`ToolFailed` when neither exists.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ToolFailed("neither an account named postgres nor nobody: PostgreSQL does not run as root")


def _give(folder: Path) -> None:
    """``folder`` belongs to the unprivileged account, if one is needed."""
    if (account := _account()) is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)


def _digest(rows: Iterable[bytes]) -> str:
    """Row count and shortened SHA-256 of the sorted rows, so that the server's order does not matter."""
    whole = sorted(rows)
    digest = hashlib.sha256(b"\n".join(whole)).hexdigest()
    return f"{len(whole)} rows, {digest[:32]}"
