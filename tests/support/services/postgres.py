"""A real PostgreSQL server: one cluster for the whole session, a fresh database for each test, a Unix socket only."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drbackup_agent.sources.postgres.spec import PostgresSpec
from tests.support.poll import wait_until
from tests.support.services.capability import require

SUPERUSER = "postgres"


def binaries() -> Path | None:
    """The newest folder with ``initdb``."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    return found[-1].parent if found else None


def as_server_account() -> list[str]:
    """The words before a command that must not run as root."""
    if os.geteuid() != 0:
        return []
    account = pwd.getpwnam("nobody")
    return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--"]


@dataclass
class PostgresServer:
    """A running server."""

    folder: Path
    binaries: Path
    process: subprocess.Popen[bytes]

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PGHOST": str(self.folder),
            "PGUSER": SUPERUSER,
            "PGOPTIONS": "-c client_min_messages=error",
        }

    def psql(self, database: str, *statements: str) -> str:
        """Run statements as superuser; their bare output."""
        words = [word for statement in statements for word in ("-c", statement)]
        argv = [str(self.binaries / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database, *words]
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@dataclass
class Database:
    """One test's database."""

    server: PostgresServer
    name: str
    others: list[str] = field(default_factory=list)

    def sql(self, *statements: str) -> str:
        return self.server.psql(self.name, *statements)

    def spec(self, **changed: object) -> PostgresSpec:
        values: dict[str, object] = {"database": self.name, "host": str(self.server.folder), "user": SUPERUSER}
        return PostgresSpec(**{**values, **changed})  # type: ignore[arg-type]

    def other(self) -> str:
        """A name for a database that the test makes; dropped afterwards."""
        self.others.append(f"other_{secrets.token_hex(4)}")
        return self.others[-1]

    def drop(self) -> None:
        for name in (self.name, *self.others):
            self.server.psql("template1", f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    tools = binaries()
    require("postgres", tools is not None, "no PostgreSQL server binaries here")
    assert tools is not None
    folder = Path(tempfile.mkdtemp(prefix="drb-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
    words = as_server_account()
    initdb = [str(tools / "initdb"), "-D", str(folder / "data"), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8"]
    subprocess.run(
        [*words, *initdb, "--locale=C.UTF-8", "--no-sync"], check=True, capture_output=True, timeout=60, cwd=folder
    )
    settings = {"listen_addresses": "", "fsync": "off", "full_page_writes": "off", "max_connections": "50"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*words, str(tools / "postgres"), "-D", str(folder / "data"), "-k", str(folder), *options],
            stdout=log,
            stderr=log,
            cwd=folder,
        )
    try:
        ready = [str(tools / "pg_isready"), "-q", "-h", str(folder)]
        wait_until(lambda: server.poll() is not None or subprocess.run(ready).returncode == 0)
        assert server.poll() is None, (folder / "log").read_text()
        yield PostgresServer(folder, tools, server)
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(10)
        shutil.rmtree(folder)


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[Database]:
    made = Database(postgres_server, f"test_{secrets.token_hex(4)}")
    postgres_server.psql("template1", f'CREATE DATABASE "{made.name}" TEMPLATE template0')
    yield made
    made.drop()
