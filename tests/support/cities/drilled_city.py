"""A city of two systems on one machine, with real agents and a drill host: what drills and recoveries are tried on.

``registry`` has a PostgreSQL database and scanned files that its rows name; ``portal`` has a SQLite file and needs
``registry`` first. Everything lies below one folder, but the database server that plays the department's.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from drbackup.controller.home.initialise import initialise
from drbackup.controller.home.installation import Installation
from drbackup.model.point import Point
from tests.support.runs import run_backup
from tests.support.services.postgres import SUPERUSER, PostgresServer

REGISTRY, PORTAL = "registry", "portal"
_LEVELS = Path(__file__).parents[3] / "policies" / "levels"

_INVENTORY = """\
title: 小城市备份中心
time_zone: Asia/Shanghai
agents:
  db1: {{transport: local, command: [{python}, -m, drbackup_agent, serve], state_folder: {root}/agent-db1}}
  drill1: {{transport: local, command: [{python}, -m, drbackup_agent, serve], state_folder: {root}/agent-drill1,
    sandbox: {root}/sandbox}}
stores:
  offsite: {{directory: {{path: {root}/store-offsite}}}}
"""

_REGISTRY = """\
system: registry
title: 企业基础信息库
department: market-regulation
level: 4
objectives: {{rpo: {rpo}, rto: {rto}}}
sources:
  - {{name: register, agent: db1, postgres: {{database: {database}, host: {socket}, user: {user}, tools: {tools}}}}}
  - {{name: scans, agent: db1, files: {{paths: [{root}/data/scans]}}}}
schedule: {{every: 30m}}
keep: {{daily: 30}}
copies: [offsite]
drill:
  every: {every}
  on: drill1
  checks:
    - {{source: register, sql: "select count(*) from enterprise", expect: {{min: {minimum}}}}}
    - {{source: register, counts: match}}
    - {{source: scans, files: match}}
    - {{across: [register, scans], sql: "select path from attachment", each: exists_in_files}}
"""

_PORTAL = """\
system: portal
title: 网上审批平台
department: approval
level: 3
objectives: {{rpo: 2h, rto: 12h}}
depends_on: [registry]
sources:
  - {{name: cases, agent: db1, sqlite: {{path: {root}/data/cases.db}}}}
schedule: {{every: 1h}}
keep: {{daily: 30}}
copies: [offsite]
drill:
  every: week
  on: drill1
  checks:
    - {{source: cases, sql: "select count(*) from case_file", expect: {{equals: 3}}}}
    - {{source: cases, counts: match}}
"""


@dataclass
class DrilledCity:
    """``server`` plays the department's database server; ``root`` holds everything else."""

    root: Path
    server: PostgresServer
    rpo: str = "2h"
    rto: str = "8h"
    every: str = "week"
    minimum: int = 50
    database: str = field(default_factory=lambda: f"registry_{secrets.token_hex(4)}")

    @property
    def scans(self) -> Path:
        return self.root / "data" / "scans"

    @property
    def cases(self) -> Path:
        return self.root / "data" / "cases.db"

    @property
    def sandbox(self) -> Path:
        return self.root / "sandbox"

    @property
    def store(self) -> Path:
        return self.root / "store-offsite"

    def build(self) -> DrilledCity:
        """Data, policies, keys and vault; no backup yet."""
        self.scans.mkdir(parents=True)
        for number in range(20):
            folder = self.scans / f"{number % 4}"
            folder.mkdir(exist_ok=True)
            (folder / f"{number}.tif").write_bytes(os.urandom(3000 + number))
        self._fill_register()
        with closing(sqlite3.connect(self.cases)) as database, database:
            database.execute("create table case_file(id integer primary key, title text)")
            database.executemany("insert into case_file(title) values (?)", [("甲",), ("乙",), ("丙",)])
        self.write_policies()
        initialise(self.root / "home", self.root / "policies", (2, 3), now=datetime.now(UTC))
        return self

    def write_policies(self) -> None:
        policies = self.root / "policies"
        if not policies.exists():
            policies.mkdir()
            shutil.copytree(_LEVELS, policies / "levels")
        words = {
            "root": self.root,
            "python": sys.executable,
            "socket": self.server.folder,
            "database": self.database,
            "user": SUPERUSER,
            "tools": self.server.binaries,
            "rpo": self.rpo,
            "rto": self.rto,
            "every": self.every,
            "minimum": self.minimum,
        }
        (policies / "inventory.yaml").write_text(_INVENTORY.format(**words))
        (policies / "registry.yaml").write_text(_REGISTRY.format(**words))
        (policies / "portal.yaml").write_text(_PORTAL.format(**words))

    def open(self) -> Installation:
        return Installation.open(self.root / "home", self.root / "policies")

    def back_up(self, installation: Installation) -> dict[str, Point]:
        """One point of every source: source name → point."""
        return {
            source.name: run_backup(installation, policy.system, source.name)
            for policy in installation.policies.policies.values()
            for source in policy.sources
        }

    def sql(self, *statements: str) -> str:
        """Run statements in the department's database."""
        return self.server.psql(self.database, *statements)

    def drop(self) -> None:
        """The database is gone."""
        self.server.psql("template1", f'DROP DATABASE IF EXISTS "{self.database}" WITH (FORCE)')

    def burn(self) -> None:
        """The department's machine room is gone."""
        self.drop()
        shutil.rmtree(self.scans)
        self.cases.unlink()

    def _fill_register(self) -> None:
        self.server.psql("template1", f'CREATE DATABASE "{self.database}" TEMPLATE template0')
        self.sql(
            "create table enterprise(id int primary key, name text not null)",
            "insert into enterprise select n, '企业 ' || n || E'\\t\\n' from generate_series(1, 60) n",
            "create table attachment(id int primary key, path text not null)",
            "insert into attachment select n, (n % 4) || '/' || n || '.tif' from generate_series(0, 19) n",
        )
