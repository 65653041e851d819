"""Measures the real command as a user runs it: separate agent process, encryption on, controller answering.

    python -m tests.bench.run [--data FOLDER] [--files N] [--keep]

Without ``--data`` a folder is made and aged by a day between two backups. Prints one line a step: wall seconds, CPU
seconds of the command and all its children, megabytes of source a second, megabytes stored so far. Restores are
compared byte for byte.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench import data

INVENTORY = """title: bench
time_zone: UTC
agents:
  here: {{transport: local, workers: 2}}
stores:
  folder: {{directory: {{path: {store}}}}}
"""
POLICY = """system: bench
title: bench
department: bench
level: 2
objectives: {{rpo: 1d, rto: 8h}}
sources:
  - {{name: files, agent: here, canary: false, files: {{paths: [{source}]}}}}
schedule: {{every: 6h, time_zone: UTC}}
keep: {{daily: 30}}
copies: [folder]
"""


@dataclass(frozen=True)
class Step:
    """What one command took. Seconds and bytes."""

    name: str
    wall: float
    cpu: float
    stored: int


def size_of(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


class Bench:
    """One installation in a folder of its own, measuring one source."""

    def __init__(self, work: Path, source: Path) -> None:
        self.work, self.source, self.store = work, source, work / "store"
        self.steps: list[Step] = []
        policies = work / "policies"
        policies.mkdir()
        (policies / "inventory.yaml").write_text(INVENTORY.format(store=self.store))
        (policies / "bench.yaml").write_text(POLICY.format(source=source))
        self.environment = {
            **os.environ,
            "DRBACKUP_HOME": str(work / "home"),
            "DRBACKUP_POLICIES": str(policies),
            "DRBACKUP_AGENT_STATE": str(work / "agent"),
        }

    def run(self, name: str, *words: str) -> None:
        """Run one command and remember what it took. Raises when it fails."""
        os.sync()
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        command = [str(Path(sys.executable).with_name("drbackup")), *words]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        wall, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.steps.append(Step(name, wall, cpu, size_of(self.store)))

    def show(self, size: int) -> None:
        """The table, and the largest resident memory of any process."""
        print(f"source {size / 1e6:.0f} MB, {os.cpu_count()} cores")
        print(f"{'step':12}{'wall s':>9}{'CPU s':>9}{'MB/s':>9}{'stored MB':>11}")
        for step in self.steps:
            print(
                f"{step.name:12}{step.wall:9.2f}{step.cpu:9.2f}{size / 1e6 / step.wall:9.0f}{step.stored / 1e6:11.0f}"
            )
        print(f"largest process: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB resident")


def differences(first: Path, second: Path) -> list[str]:
    """Paths that differ in content, or are only on one side."""
    found = []
    for folder, _, names in os.walk(first):
        inside = Path(folder).relative_to(first)
        _, wrong, odd = filecmp.cmpfiles(folder, second / inside, names, shallow=False)
        found += [str(inside / name) for name in (*wrong, *odd)]
    return found


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--data", type=Path, help="measure on this folder; it is only read")
    words.add_argument("--files", type=int, default=5000, help="files to make without --data")
    asked = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="drbackup-bench-") as folder:
        work = Path(folder)
        source = asked.data or work / "data"
        if asked.data is None:
            data.make(source, asked.files)
        size = size_of(source)
        bench = Bench(work, source)
        bench.run("init", "init", "--custodians", "2-of-3")
        bench.run("first", "backup", "bench")
        bench.run("no-change", "backup", "bench")
        if asked.data is None:
            data.age(source)
            bench.run("day 2", "backup", "bench")
        bench.run("restore", "restore", "bench/files", "--to", str(work / "out"))
        bench.run("scrub", "vault", "scrub")
        bench.show(size)
        restored = work / "out" / str(source).lstrip("/")
        if wrong := differences(source, restored):
            raise SystemExit(f"{len(wrong)} files differ, for example {wrong[0]}")
        print("restored copy is identical")


if __name__ == "__main__":
    main()
