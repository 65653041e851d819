"""A small installation for the real command: one system with a SQLite register and a folder of scans."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

LEVELS = Path(__file__).resolve().parents[3] / "policies" / "levels"


@dataclass(frozen=True)
class Answer:
    """How one command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Site:
    """An installation below ``folder``; nothing is founded yet."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def policies(self) -> Path:
        return self.folder / "policies"

    @property
    def register(self) -> Path:
        return self.folder / "data" / "register.db"

    @property
    def scans(self) -> Path:
        return self.folder / "data" / "scans"

    @property
    def drill_key(self) -> Path:
        return self.home / "keys" / "drill.key"

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DRBACKUP_", "LC_", "LANG"))}
        return {**kept, "DRBACKUP_HOME": str(self.home), "DRBACKUP_POLICIES": str(self.policies), "LANG": "C.UTF-8"}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "drbackup.cli.main", *words]

    def run(self, *words: str, feed: str = "", **environment: str) -> Answer:
        """One command, to its end."""
        done = subprocess.run(
            self.command(*words),
            input=feed,
            capture_output=True,
            text=True,
            env=self.environment() | environment,
            timeout=120,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def good(self, *words: str) -> Answer:
        """One command that must succeed."""
        answer = self.run(*words)
        assert answer.code == 0, f"drbackup {' '.join(words)}: {answer.code}\n{answer.out}\n{answer.err}"
        return answer

    # --- what it is made of ---

    def fill(self) -> None:
        """The data: a register of 500 rows and three scans with names as officials give them."""
        self.scans.mkdir(parents=True)
        (self.scans / "营业执照 甲.tif").write_bytes(b"II*\0" + bytes(range(256)) * 400)
        (self.scans / "empty.txt").write_bytes(b"")
        (self.scans / "sub").mkdir()
        (self.scans / "sub" / "章程.txt").write_text("第一条\n", encoding="utf-8")
        with closing(sqlite3.connect(self.register)) as connection, connection:
            connection.execute("create table attachment (id integer primary key, path text)")
            connection.execute("create table enterprise (id integer primary key, name text)")
            rows = [(number, f"企业{number}") for number in range(500)]
            connection.executemany("insert into enterprise values (?, ?)", rows)
            connection.execute("insert into attachment values (1, ?)", (f"{self.scans}/sub/章程.txt",))

    def write(self, **changes: Any) -> None:
        """The policy folder; ``changes`` replace keys of the one policy."""
        policy: dict[str, Any] = {
            "system": "registry",
            "title": "企业登记",
            "department": "market-regulation",
            "level": 4,
            "objectives": {"rpo": "1h", "rto": "8h"},
            "sources": [
                {"name": "register", "agent": "db1", "sqlite": {"path": str(self.register)}},
                {"name": "scans", "agent": "db1", "files": {"paths": [str(self.scans)]}},
            ],
            "schedule": {"every": "30m"},
            "keep": {"daily": 7},
            "copies": ["offsite"],
            "drill": {
                "every": "month",
                "on": "drill1",
                "checks": [
                    {"source": "register", "sql": "select count(*) from enterprise", "expect": {"equals": 500}},
                    {"source": "register", "counts": "match"},
                    {"source": "scans", "files": "match"},
                    {
                        "across": ["register", "scans"],
                        "sql": "select path from attachment",
                        "each": "exists_in_files",
                    },
                ],
            },
        }
        inventory = {"title": "测试市", "agents": self.agents(), "stores": self.stores()}
        self.policies.mkdir(exist_ok=True)
        if not (self.policies / "levels").exists():
            shutil.copytree(LEVELS, self.policies / "levels")
        (self.policies / "inventory.yaml").write_text(yaml.safe_dump(inventory, allow_unicode=True), encoding="utf-8")
        text = yaml.safe_dump(policy | changes, allow_unicode=True)
        (self.policies / "registry.yaml").write_text(text, encoding="utf-8")

    def agents(self) -> dict[str, Any]:
        """The inventory's agents: a department's server and the drill host."""
        agents: dict[str, Any] = {
            name: {"transport": "local", "state_folder": str(self.folder / "agents" / name)}
            for name in ("db1", "drill1")
        }
        agents["drill1"]["sandbox"] = str(self.folder / "agents" / "drill1" / "sandbox")
        return agents

    def stores(self) -> dict[str, Any]:
        """The inventory's stores."""
        return {"offsite": {"directory": {"path": str(self.folder / "store")}}}

    def found(self) -> list[str]:
        """Found the installation, carry the drill key to the drill host; the custodians' shares."""
        shares: list[str] = self.good("init", "--custodians", "2-of-3", "--json").document["shares"]
        drill_host = self.folder / "agents" / "drill1"
        drill_host.mkdir(parents=True)
        shutil.copy(self.drill_key, drill_host / "drill.key")
        return shares
