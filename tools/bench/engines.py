"""The programs that are compared, each as its own handbook says it is used: encryption on, nothing tuned.

An engine works on a :class:`Ground`: a folder of its own, made fresh for each round, with its caches, its home and
(when it stores to a folder) its store.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tools.bench.places import Bucket, Folder, Place

INVENTORY = """title: bench
time_zone: UTC
agents:
  here: {{transport: local}}
stores:
  offsite: {store}
"""
POLICY = """system: bench
title: bench
department: bench
level: 2
objectives: {{rpo: 1d, rto: 8h}}
sources:
  - {{name: data, agent: here, canary: false, files: {{paths: ["{source}"]}}}}
schedule: {{every: 6h, time_zone: UTC}}
keep: {{daily: 30}}
copies: [offsite]
"""
_PASSWORD = "bench"


@dataclass(frozen=True, slots=True)
class Ground:
    """One engine in one round: what it backs up, where to, and where it keeps its own files."""

    source: Path
    place: Place
    folder: Path

    @property
    def store(self) -> Path:
        """The folder it stores to. Raises ``TypeError`` for a bucket."""
        if not isinstance(self.place, Folder):
            raise TypeError("a bucket is no folder")
        return self.place.path


class Engine(Protocol):
    """One program. Commands are argv lists; ``number`` tells one backup from another."""

    name: str
    speaks_s3: bool

    def version(self) -> str: ...

    def environment(self, ground: Ground) -> dict[str, str]: ...

    def begin(self, ground: Ground) -> Sequence[str]:
        """Makes an empty store; not measured."""
        ...

    def backup(self, ground: Ground, number: int) -> Sequence[str]: ...

    def restore(self, ground: Ground, number: int, target: Path) -> Sequence[str]:
        """Run in the empty folder ``target``; the source appears below it under its absolute path."""
        ...

    def check(self, ground: Ground) -> Sequence[str]:
        """Reads everything that is stored."""
        ...

    def read_back(self, said: str) -> int | None:
        """How many bytes a check says it has read; None when it says nothing of it."""
        ...


def _base(ground: Ground) -> dict[str, str]:
    """What every engine's commands find in their environment; the S3 credential where there is a server."""
    plain = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(ground.folder), "LC_ALL": "C.UTF-8"}
    if isinstance(ground.place, Bucket):
        keys = ground.place.server.credentials
        plain |= {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
    return plain


def _first_line(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(list(command), capture_output=True, text=True, timeout=60, env=environment)
    return (done.stdout or done.stderr).strip().split("\n", maxsplit=1)[0]


class Drbackup:
    """The real command, which starts the agent as a process of its own."""

    name = "drbackup"
    speaks_s3 = True

    def __init__(self) -> None:
        self._command = str(Path(sys.executable).with_name("drbackup"))

    def version(self) -> str:
        return _first_line([self._command, "--version"])

    def environment(self, ground: Ground) -> dict[str, str]:
        return _base(ground) | {
            "DRBACKUP_HOME": str(ground.folder / "home"),
            "DRBACKUP_POLICIES": str(ground.folder / "policies"),
            "DRBACKUP_AGENT_STATE": str(ground.folder / "agent"),
        }

    def begin(self, ground: Ground) -> Sequence[str]:
        policies = ground.folder / "policies"
        policies.mkdir()
        if isinstance(ground.place, Bucket):
            store = f'{{s3: {{bucket: {ground.place.name}, endpoint: "{ground.place.server.endpoint}"}}}}'
        else:
            store = f'{{directory: {{path: "{ground.store}"}}}}'
        (policies / "inventory.yaml").write_text(INVENTORY.format(store=store))
        (policies / "bench.yaml").write_text(POLICY.format(source=ground.source))
        return [self._command, "init", "--custodians", "2-of-3"]

    def backup(self, ground: Ground, number: int) -> Sequence[str]:
        return [self._command, "backup", "bench"]

    def restore(self, ground: Ground, number: int, target: Path) -> Sequence[str]:
        return [self._command, "restore", "bench/data", "--to", str(target)]

    def check(self, ground: Ground) -> Sequence[str]:
        return [self._command, "--json", "vault", "scrub"]

    def read_back(self, said: str) -> int | None:
        return sum(int(store["bytes"]) for store in json.loads(said)["stores"])


class Restic:
    """restic with its default pack size and compression."""

    name = "restic"
    speaks_s3 = True

    def __init__(self, program: str) -> None:
        self._program = program

    def version(self) -> str:
        return " ".join(_first_line([self._program, "version"]).split()[:2])

    def environment(self, ground: Ground) -> dict[str, str]:
        if isinstance(ground.place, Bucket):
            where = f"s3:{ground.place.server.endpoint}/{ground.place.name}/repo"
        else:
            where = str(ground.store)
        return _base(ground) | {
            "RESTIC_PASSWORD": _PASSWORD,
            "RESTIC_CACHE_DIR": str(ground.folder / "cache"),
            "RESTIC_REPOSITORY": where,
            "RESTIC_PROGRESS_FPS": "0.1",
        }

    def begin(self, ground: Ground) -> Sequence[str]:
        return [self._program, "init"]

    def backup(self, ground: Ground, number: int) -> Sequence[str]:
        return [self._program, "backup", str(ground.source)]

    def restore(self, ground: Ground, number: int, target: Path) -> Sequence[str]:
        return [self._program, "restore", "latest", "--target", str(target)]

    def check(self, ground: Ground) -> Sequence[str]:
        return [self._program, "check", "--read-data"]

    def read_back(self, said: str) -> int | None:
        return None


class Borg:
    """borg 1.x with one compression; it stores to folders only."""

    speaks_s3 = False

    def __init__(self, program: str, compression: str) -> None:
        self._program, self._compression = program, compression
        self.name = f"borg {compression}"

    def version(self) -> str:
        return f"{_first_line([self._program, '--version'])} {self._compression}"

    def environment(self, ground: Ground) -> dict[str, str]:
        return _base(ground) | {
            "BORG_PASSPHRASE": _PASSWORD,
            "BORG_BASE_DIR": str(ground.folder / "cache"),
            "BORG_REPO": str(ground.store),
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }

    def begin(self, ground: Ground) -> Sequence[str]:
        return [self._program, "init", "--encryption", "repokey-blake2"]

    def backup(self, ground: Ground, number: int) -> Sequence[str]:
        return [self._program, "create", "--compression", self._compression, f"::{number}", str(ground.source)]

    def restore(self, ground: Ground, number: int, target: Path) -> Sequence[str]:
        return [self._program, "extract", f"::{number}"]

    def check(self, ground: Ground) -> Sequence[str]:
        return [self._program, "check", "--verify-data"]

    def read_back(self, said: str) -> int | None:
        return None


def found(folders: Sequence[Path], with_lz4: bool) -> list[Engine]:
    """drbackup and every peer that lies in ``folders`` or in ``PATH``."""
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")])
    engines: list[Engine] = [Drbackup()]
    if restic := _newest("restic", folders) or shutil.which("restic", path=path):
        engines.append(Restic(restic))
    if borg := shutil.which("borg", path=path):
        engines += [Borg(borg, "zstd,3"), *([Borg(borg, "lz4")] if with_lz4 else [])]
    return engines


def _newest(name: str, folders: Sequence[Path]) -> str | None:
    """Programs kept side by side carry their version in the name, like ``restic-0.19``."""
    kept = [path for folder in folders for path in folder.glob(f"{name}-[0-9]*") if os.access(path, os.X_OK)]
    newest = max(kept, key=lambda path: [int(part) for part in path.name.split("-")[1].split(".")], default=None)
    return str(newest) if newest else None
