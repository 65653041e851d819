"""Jobs by a real agent process over its real wire: what a controller gets to see."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec
import pytest

from drbackup.errors import SourceEmpty, SourceShrunk, SourceUnreadable, WrongKey
from drbackup.fleet.local import open_channel
from drbackup.fleet.session import Timeouts, run_session
from drbackup.model.point import SourceFacts
from drbackup.wire.messages import (
    BackupJob,
    BackupResult,
    Job,
    PreflightJob,
    PreflightResult,
    RestoreJob,
    RestoreResult,
    Result,
)
from drbackup.wire.specs import FolderTarget, Plausibility, PointRef, Secret
from drbackup_agent.sources.files.spec import FilesSpec
from tests.support.cities.small_vault import SmallVault
from tests.support.doubles.memory_handler import MemoryHandler
from tests.support.doubles.tree_facts import tree_facts
from tests.support.poll import wait_until

VAULT = SmallVault()
DRILL_SEED = b"\x02" * 32  # as SmallVault's keys are made


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a").write_bytes(b"a" * 5000)
    (folder / "b").write_bytes(bytes(range(256)) * 2000)
    return folder


class Agent:
    """Starts a new agent for each job, as the controller does."""

    def __init__(self, state: Path) -> None:
        self.handler = MemoryHandler()
        self._state = state

    def do(self, job: Job) -> Result:
        environment = {"DRBACKUP_AGENT_STATE": str(self._state)}
        channel = open_channel("here", [sys.executable, "-m", "drbackup_agent", "serve"], environment=environment)
        try:
            return run_session(channel, job, self.handler, Timeouts())
        finally:
            channel.close()


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path / "state")


def backup_job(data: Path, **changed: object) -> BackupJob:
    values: dict[str, object] = {
        "system": "city",
        "source": "scans",
        "spec": FilesSpec((str(data),)),
        "keys": VAULT.domain_keys,
    }
    return BackupJob(**{**values, **changed})  # type: ignore[arg-type]


def restore_job(root: bytes, out: Path, seed: bytes) -> RestoreJob:
    point = PointRef("a1" * 32, "city", "scans", VAULT.domain, "files", root)
    return RestoreJob(point, FolderTarget(str(out)), key=Secret(seed))


def test_a_point_goes_out_and_comes_back_over_the_wire(agent: Agent, data: Path, tmp_path: Path) -> None:
    result = agent.do(backup_job(data))
    assert isinstance(result, BackupResult)
    facts = msgspec.msgpack.decode(result.facts, type=SourceFacts)
    assert agent.handler.pins == [(facts.pinned_ns, "")]
    assert result.files == 2
    assert result.content_bytes == 5000 + 256 * 2000
    assert {pack[1:] for pack in result.packs} <= set(agent.handler.packs)
    restored = agent.do(restore_job(result.root, tmp_path / "out", DRILL_SEED))
    assert isinstance(restored, RestoreResult)
    assert restored.files == 2
    assert tree_facts(tmp_path / "out" / str(data)[1:]) == tree_facts(data)


def test_a_run_that_is_not_plausible_fails_and_leaves_the_cache_as_it_was(
    agent: Agent, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(SourceShrunk):
        agent.do(backup_job(data, plausible=Plausibility(previous=10_000_000)))
    assert not list((tmp_path / "state").glob("cache/*"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceEmpty):
        agent.do(backup_job(tmp_path / "empty"))
    with pytest.raises(SourceUnreadable, match="gone"):
        agent.do(backup_job(tmp_path / "gone"))


def test_the_hosts_own_key_file_opens_points_and_a_wrong_key_does_not(agent: Agent, data: Path, tmp_path: Path) -> None:
    result = agent.do(backup_job(data))
    assert isinstance(result, BackupResult)
    with pytest.raises(WrongKey):
        agent.do(restore_job(result.root, tmp_path / "out1", b""))
    with pytest.raises(WrongKey):
        agent.do(restore_job(result.root, tmp_path / "out1", b"\x55" * 32))
    (tmp_path / "state" / "drill.key").write_text(DRILL_SEED.hex() + "\n")
    (tmp_path / "state" / "drill.key").chmod(0o600)
    agent.do(restore_job(result.root, tmp_path / "out", b""))
    assert (tmp_path / "out" / str(data / "sub" / "a")[1:]).read_bytes() == b"a" * 5000


def test_the_second_run_of_a_calm_tree_stores_no_content(agent: Agent, data: Path) -> None:
    newest = max(path.stat().st_ctime_ns for path in data.rglob("*"))
    wait_until(lambda: time.time_ns() - newest > 2_100_000_000)  # young files are never believed to be unchanged
    agent.do(backup_job(data))
    second = agent.do(backup_job(data))
    assert isinstance(second, BackupResult)
    assert second.new_bytes == 0  # from the agent's own cache: this handler knows no chunk


def test_preflight_looks_and_changes_nothing(agent: Agent, data: Path, tmp_path: Path) -> None:
    before = tree_facts(data)
    result = agent.do(PreflightJob(FilesSpec((str(data), str(tmp_path / "gone")))))
    assert isinstance(result, PreflightResult)
    assert result.lines[f"path {data}"].startswith("ok")
    assert result.lines[f"path {tmp_path / 'gone'}"].startswith("failed")
    assert tree_facts(data) == before
