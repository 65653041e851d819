"""Measures drbackup and the peers that are found here, in turn, on the same data: ``python -m tools.bench.run``.

    --data NAME=FOLDER[,CHANGES]   a set to measure on; FOLDER is only read, except that day 2 is switched in by
                                   renaming and out again (see tools/bench/data.py); may be repeated
    --size MB                      without --data: sets of that size are made
    --s3 NAME,…                    sets that are also measured against an S3 server on loopback
    --peers FOLDER                 where to look for restic and borg besides PATH; may be repeated

Of each set, each round: every engine makes its first backup, then every engine the next step, so that what the machine
does meanwhile hits all alike. Engines take turns in going first. Every engine starts the round with an empty store and
home. Restored trees are compared with the source byte for byte. The results file is written after every step; what a
time limit did not allow is named in it. Then the page is written: ``docs/performance.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.support.services.seaweedfs import S3Server
from tools.bench import bounds, data, engines, machine, page
from tools.bench.data import DataSet
from tools.bench.engines import Engine, Ground
from tools.bench.places import Bucket, Folder, Place, served
from tools.bench.results import OPERATIONS, Results, SetFacts, Step

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "performance.json"
_WHOLE = 0.95  # of what is stored: an index or a lock need not be read to know that all data is whole


@dataclass(frozen=True)
class Plan:
    """What to measure. ``patience``: seconds to wait for a quiet machine before each step; ``until``: monotonic."""

    sets: tuple[DataSet, ...]
    s3: frozenset[str]
    engines: tuple[Engine, ...]
    operations: tuple[str, ...]
    rounds: int
    patience: float
    until: float
    work: Path


class Block:
    """One round of one set in one kind of place, all engines."""

    def __init__(self, plan: Plan, results: Results, source: DataSet, number: int, work: Path) -> None:
        self._plan, self._results, self._source, self._number, self._work = plan, results, source, number, work
        self._out: dict[str, Engine] = {}  # name → engine that failed in this block
        self.kind = ""

    def run(self, server: S3Server | None) -> None:
        self.kind = "s3" if server else "local"
        turn = self._number % len(self._plan.engines)
        able = [engine for engine in self._plan.engines if engine.speaks_s3 or not server]
        able = able[turn:] + able[:turn]
        grounds = {engine.name: self._ground(engine, server) for engine in able}
        self._source.switch(1)
        _read_all(self._source)
        for engine in able:
            self._begin(engine, grounds[engine.name])
        for operation in OPERATIONS:
            if operation == "day 2":
                if not self._source.changes:
                    continue
                self._source.switch(2)
            for engine in able:
                # Steps build on one another: one that is not asked for is done, but not waited for.
                if engine.name not in self._out:
                    self._step(engine, grounds[engine.name], operation)
        self._source.switch(1)

    def _ground(self, engine: Engine, server: S3Server | None) -> Ground:
        folder = self._work / engine.name.replace(" ", "-")
        folder.mkdir()
        place: Place = Bucket(server) if server else Folder(folder / "store")
        return Ground(self._source.folder, place, folder)

    def _begin(self, engine: Engine, ground: Ground) -> None:
        made = subprocess.run(
            list(engine.begin(ground)),
            env=engine.environment(ground),
            cwd=ground.folder,
            capture_output=True,
            text=True,
        )
        if made.returncode:
            self._fail(engine, "begin", f"{made.stdout}{made.stderr}")

    def _step(self, engine: Engine, ground: Ground, operation: str) -> None:
        number = OPERATIONS.index(operation)
        newest = 2 if self._source.changes else 1
        target = ground.folder / "restored"
        target.mkdir(exist_ok=True)
        command = {
            "restore": lambda: engine.restore(ground, newest, target),
            "check": lambda: engine.check(ground),
        }.get(operation, lambda: engine.backup(ground, number))()
        asked = operation in self._plan.operations
        if not asked and operation in ("restore", "check"):
            return
        waited = machine.settle(self._plan.patience) if asked else 0.0
        before = ground.place.meter()
        at = datetime.now(UTC).isoformat(timespec="seconds")
        log = ground.folder / "log"
        took = machine.run(
            command, engine.environment(ground), target if operation == "restore" else ground.folder, log
        )
        after = ground.place.meter()
        if took.code:
            self._fail(engine, operation, log.read_text(errors="replace"))
            return
        wrong = differences(self._source.folder, target) if operation == "restore" else ()
        if wrong:
            self._fail(engine, operation, f"{len(wrong)} paths differ, for example {wrong[0]}")
            return
        if not asked:
            return
        stored, objects = ground.place.weigh()
        read = engine.read_back(log.read_text(errors="replace")) if operation == "check" else None
        if read is not None and read < _WHOLE * stored:
            self._fail(engine, operation, f"only {read} of {stored} bytes were read back")
            return
        server_cpu = after[1] - before[1]
        noise = max(0.0, took.other - server_cpu / took.wall / (os.cpu_count() or 1))
        step = Step(
            self._source.name, self.kind, operation, engine.name, self._number, at, round(took.wall, 3),
            round(took.cpu, 3), took.largest, took.helper, took.together, stored, objects, after[0] - before[0],
            round(server_cpu, 3), round(noise, 3), round(waited, 1),
        )  # fmt: skip
        self._note(step)

    def _fail(self, engine: Engine, operation: str, said: str) -> None:
        self._out[engine.name] = engine
        at = datetime.now(UTC).isoformat(timespec="seconds")
        why = said.strip()[-500:] or "failed without a word"
        self._note(Step(self._source.name, self.kind, operation, engine.name, self._number, at, failed=why))

    def _note(self, step: Step) -> None:
        self._results.steps.append(step)
        self._results.save()
        where = f"{step.set:7}{step.place:6}{step.round:2} {step.operation:10}{step.engine:12}"
        if step.failed:
            print(f"{where} FAILED: {step.failed}", flush=True)
            return
        print(
            f"{where}{step.wall:8.2f} s{step.cpu:8.2f} CPU s{step.largest / 2**20:6.0f} MiB{step.stored / 1e6:8.0f} MB"
            f"{step.objects:6} objects{step.requests:5} requests, other {step.other:4.0%}",
            flush=True,
        )


def differences(first: Path, restored: Path) -> list[str]:
    """Paths that differ between ``first`` and its copy below ``restored``: in kind, bytes or where a link leads."""
    second = restored / str(first).lstrip("/")
    names = {str(path.relative_to(first)) for path in first.rglob("*")}
    odd = names ^ {str(path.relative_to(second)) for path in second.rglob("*")}
    return sorted(odd) + [name for name in sorted(names - odd) if not _same(first / name, second / name)]


def _same(first: Path, second: Path) -> bool:
    if first.is_symlink() or second.is_symlink():
        return first.is_symlink() and second.is_symlink() and os.readlink(first) == os.readlink(second)
    if first.is_dir() or second.is_dir():
        return first.is_dir() and second.is_dir()
    if first.stat().st_size != second.stat().st_size:
        return False
    with first.open("rb") as one, second.open("rb") as other:
        while data := one.read(1 << 20):
            if data != other.read(1 << 20):
                return False
    return True


def _read_all(source: DataSet) -> None:
    """So that nobody is the first to fetch it from the disk."""
    buffer = bytearray(1 << 20)
    for path in source.files():
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def measure(plan: Plan, results: Results) -> None:
    """Everything in ``plan``: round by round, folders before servers, so that a limit cuts off the least."""
    spent: dict[tuple[str, bool], float] = {}
    a_byte = 0.0  # seconds, of the slowest block so far
    blocks = [(source, False) for source in plan.sets] + [
        (source, True) for source in plan.sets if source.name in plan.s3
    ]
    for number in range(plan.rounds):
        for source, on_server in blocks:
            begin, size = time.monotonic(), max(1, source.size)
            if begin + spent.get((source.name, on_server), a_byte * size) > plan.until:
                where = "S3" if on_server else "a folder"
                results.skipped.append(f"round {number + 1} of {source.name} on {where}: the time was over")
                results.save()
                continue
            _one(plan, results, source, on_server)
            spent[source.name, on_server] = took = time.monotonic() - begin
            a_byte = max(a_byte, took / size)


def _one(plan: Plan, results: Results, source: DataSet, on_server: bool) -> None:
    number = results.rounds(source.name, "s3" if on_server else "local") + 1
    with tempfile.TemporaryDirectory(prefix="round-", dir=plan.work, ignore_cleanup_errors=True) as folder:
        work = Path(folder)
        block = Block(plan, results, source, number, work)
        with served(work / "server") if on_server else contextlib.nullcontext() as server:
            try:
                block.run(server)
            finally:
                source.switch(1)
        if not on_server and not any(bound.set == source.name for bound in results.bounds):
            for bound in bounds.measure(source, work / "bounds", plan.patience):
                results.bounds.append(bound)
                results.save()


def _facts(source: DataSet, given: bool) -> SetFacts:
    source.switch(1)
    files = source.files()
    source.switch(2)
    changed = sum(path.stat().st_size for path in source.changed())
    source.switch(1)
    return SetFacts(source.name, len(files), source.size, changed, given)


def _words(argv: Sequence[str] | None) -> argparse.Namespace:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--data", action="append", type=DataSet.parse, default=[], metavar="NAME=FOLDER[,CHANGES]")
    words.add_argument("--size", type=int, default=200, help="megabytes of each set that is made")
    words.add_argument("--make", default=",".join(data.KINDS), metavar="NAME,…", help="which of these to make")
    words.add_argument("--s3", default="", metavar="NAME,…", help="sets to measure on S3, too; 'all' for all")
    words.add_argument("--peers", action="append", type=Path, default=[], help="folder with restic and borg")
    words.add_argument("--engine", action="append", default=[], metavar="NAME", help="only these, like 'borg zstd,3'")
    words.add_argument("--lz4", action="store_true", help="measure borg with lz4 as an extra row")
    words.add_argument("--only", default=",".join(OPERATIONS), metavar="STEP,…", help="only these steps count")
    words.add_argument("--rounds", type=int, default=1)
    words.add_argument("--minutes", type=float, default=1e6, help="begin no further block that would not end by then")
    words.add_argument("--patience", type=float, default=25.0, help="seconds to wait for a quiet machine")
    words.add_argument("--work", type=Path, default=Path("/var/tmp"), help="where stores, homes and copies are made")
    words.add_argument("--results", type=Path, default=RESULTS)
    words.add_argument("--add", action="store_true", help="add rounds to the results there are")
    words.add_argument("--no-page", action="store_true", help=f"leave {page.PAGE.name} as it is")
    return words.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    asked = _words(argv)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's python keeps what it compiled
    begin = time.monotonic()
    results = Results.read(asked.results) if asked.add and asked.results.exists() else Results(asked.results)
    with tempfile.TemporaryDirectory(prefix="drbackup-bench-", dir=asked.work) as folder:
        work = Path(folder)
        sets = asked.data or data.make_all(work / "data", asked.size, asked.make.split(","))
        found = engines.found([path.absolute() for path in asked.peers], asked.lz4)
        found = [engine for engine in found if not asked.engine or engine.name in asked.engine]
        results.about |= machine.describe(work) | {"measured": f"{datetime.now(UTC):%Y-%m-%d}"}
        results.versions |= {engine.name: engine.version() for engine in found}
        fresh = [_facts(source, bool(asked.data)) for source in sets]
        results.sets = [old for old in results.sets if old.name not in {new.name for new in fresh}] + fresh
        on_server = frozenset(source.name for source in sets if asked.s3 == "all" or source.name in asked.s3.split(","))
        plan = Plan(
            tuple(sets), on_server, tuple(found), tuple(asked.only.split(",")), asked.rounds, asked.patience,
            begin + asked.minutes * 60, work,
        )  # fmt: skip
        try:
            measure(plan, results)
        finally:
            results.save()
            shutil.rmtree(work / "data", ignore_errors=True)
    if not asked.no_page:
        page.write(results)


if __name__ == "__main__":
    main()
