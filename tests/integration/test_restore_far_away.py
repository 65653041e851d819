"""A restore from a store that answers every request late, and one of a large file: quick, and in bounded memory."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from drbackup.fleet.local import open_channel
from drbackup.fleet.session import Timeouts, run_session
from drbackup.stores.base import Store
from drbackup.stores.s3.store import S3Store
from drbackup.vault.layout import pack_name
from drbackup.wire.messages import RestoreJob, RestoreResult
from drbackup.wire.specs import FolderTarget, PointRef, Secret
from drbackup_agent.sources.files.spec import FilesSpec
from tests.support.cities.small_vault import SmallVault
from tests.support.doubles.memory_handler import MemoryHandler
from tests.support.doubles.source_runs import SourceRuns
from tests.support.poll import PATIENCE
from tests.support.services.faulty_proxy import Fault, FaultyProxy
from tests.support.services.seaweedfs import QUICK, S3Server

DRILL_SEED = b"\x02" * 32  # as SmallVault's keys are made
MOST_MEMORY = 256 << 20  # bytes of the agent at any size of data
AGENT = """
import pathlib, re, sys
from drbackup_agent.serve import main
status = main(["serve"])
pathlib.Path(sys.argv[1]).write_text(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
sys.exit(status)
"""  # not getrusage: its maximum begins with what the parent had


class StoreHandler(MemoryHandler):
    """Hands out a store's packs: by address where it can sign."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store

    def fetch(self, kind: str, domain: str, pack: bytes, offset: int, length: int) -> bytes | str:
        name = pack_name(domain, kind, pack)
        url = self.store.sign_get(name)
        if url is not None:
            return url
        stat = self.store.stat(name)
        assert stat is not None
        return self.store.get(name, offset, max(0, min(length, stat.size - offset)))


@dataclass
class Outcome:
    """One restore by a real agent process. Bytes of its largest resident memory."""

    memory: int


def restore(store: Store, root: bytes, out: Path) -> Outcome:
    told = out.with_name(out.name + ".memory")
    environment = {"DRBACKUP_AGENT_STATE": str(out.with_name("state"))}
    channel = open_channel("here", [sys.executable, "-c", AGENT, str(told)], environment=environment)
    point = PointRef("a1" * 32, "city", "scans", SmallVault().domain, "files", root)
    job = RestoreJob(point, FolderTarget(str(out)), key=Secret(DRILL_SEED))
    try:
        result = run_session(channel, job, StoreHandler(store), Timeouts())
        assert isinstance(result, RestoreResult)
        assert channel.exit_status(wait=PATIENCE) == 0
    finally:
        channel.close()
    return Outcome(int(told.read_text()) << 10)


def same(first: Path, second: Path) -> bool:
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    return bool(names) and all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


@pytest.mark.s3
def test_a_far_away_store_is_asked_rarely_and_by_several_reads_at_once(
    s3_server: S3Server, make_proxy: Callable[[str], FaultyProxy], tmp_path: Path
) -> None:
    """The distance costs a restore its requests one behind the other. No pack is answered before the next one is asked
    for, so a restore that waited for each would never end."""
    proxy = make_proxy(s3_server.endpoint)
    prefix = f"far-{os.getpid()}"
    store = S3Store("far", s3_server.config(s3_server.shared_bucket(), prefix=prefix, retry=QUICK))
    data, chance = tmp_path / "data", random.Random(1)
    data.mkdir()
    for number in range(3000):
        folder = data / f"{number % 40:02d}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number:05d}").write_bytes(chance.randbytes(chance.randrange(90_000)))
    root = SourceRuns(tmp_path / "state", SmallVault(store)).backup(FilesSpec((str(data),))).written.root
    late = S3Store(
        "far",
        s3_server.config(s3_server.shared_bucket(), prefix=prefix, endpoint=proxy.endpoint, retry=QUICK),
    )
    packs = Fault(times=1 << 30, method="GET", matching="/p/", together=2)
    proxy.faults = [packs]
    outcome = restore(late, root, tmp_path / "far")
    assert same(data, tmp_path / "far" / str(data)[1:])
    assert packs.most >= 2
    assert proxy.seen.count("GET") <= 24, "packs are read in few requests"  # with the listings that find their versions
    assert outcome.memory <= MOST_MEMORY


def test_the_agents_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    data, chance = tmp_path / "data", random.Random(2)
    data.mkdir()
    block = chance.randbytes(1 << 20)
    with (data / "large").open("wb") as file:
        for number in range(400):
            file.write(number.to_bytes(8) + block)
        file.seek(64 << 20, os.SEEK_CUR)
        file.write(block)
    vault = SmallVault()
    root = SourceRuns(tmp_path / "state", vault).backup(FilesSpec((str(data),))).written.root
    outcome = restore(vault.store, root, tmp_path / "out")
    assert outcome.memory <= MOST_MEMORY
    assert same(data, tmp_path / "out" / str(data)[1:])
    restored = tmp_path / "out" / str(data)[1:] / "large"
    assert restored.stat().st_blocks * 512 < restored.stat().st_size - (60 << 20)
