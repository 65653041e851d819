"""The controller is killed with SIGKILL at every step of a run: nothing committed is lost and the next run succeeds."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from drbackup.controller.catalog.runs import RunKind, RunState
from tests.support.cities.small_city import SOURCE, SYSTEM, SmallCity
from tests.support.runs import run_backup

# Runs one backup and kills its own process at the moment named by the first argument.
DRIVER = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from drbackup.controller.backup.run import run_backup
from drbackup.controller.catalog.points import Points
from drbackup.controller.catalog.runs import Runs
from drbackup.controller.runs.agent_requests import BackupRequests
from drbackup.controller.home.installation import Installation
from drbackup.stores.folder.store import DirectoryStore

moment, home, policies, system, source = sys.argv[1:]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def after(owner, name, when):
    real = getattr(owner, name)
    def patched(*arguments, **more):
        answer = real(*arguments, **more)
        if when(arguments):
            die()
        return answer
    setattr(owner, name, patched)

def before(owner, name, when):
    real = getattr(owner, name)
    def patched(*arguments, **more):
        if when(arguments):
            die()
        return real(*arguments, **more)
    setattr(owner, name, patched)

match moment:
    case "claimed":
        after(Runs, "start", lambda _: True)
    case "first-pack-stored":
        after(DirectoryStore, "put", lambda a: "/d/" in a[1])
    case "first-pack-known":
        after(BackupRequests, "uploaded", lambda _: True)
    case "before-the-record":
        before(DirectoryStore, "put", lambda a: "v1/r/" in a[1])
    case "after-the-record":
        after(DirectoryStore, "put", lambda a: "v1/r/" in a[1])
    case "after-the-row":
        after(Points, "add", lambda _: True)
    case state:
        after(Runs, "step", lambda a: state in a)

with Installation.open(Path(home), Path(policies)) as installation:
    run_backup(installation, system, source, now=lambda: datetime.now(UTC))
"""

MOMENTS = [
    "claimed",
    "connecting",
    "pinned",
    "sending",
    "first-pack-stored",
    "first-pack-known",
    "committing",
    "before-the-record",
    "after-the-record",
    "after-the-row",
    "committed",
]
COMMITTED_FROM = MOMENTS.index("after-the-record")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_controller_killed_at_any_step_loses_nothing_and_the_next_run_succeeds(tmp_path: Path, moment: str) -> None:
    city = SmallCity(tmp_path).build()
    with city.open() as installation:
        good = run_backup(installation, SYSTEM, SOURCE)
    (city.data / "c").write_bytes(b"gamma" * 100)

    words = [sys.executable, "-c", DRIVER, moment, str(city.home), str(city.policies), SYSTEM, SOURCE]
    ended = subprocess.run(words, capture_output=True, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()

    (city.data / "d").write_bytes(b"delta" * 100)
    with city.open() as installation:
        point = run_backup(installation, SYSTEM, SOURCE)  # at once: nobody waits for a dead holder's lease
        points = installation.catalog.points.list(system=SYSTEM, source=SOURCE)
        newest, killed, *_ = installation.catalog.runs.list(kind=RunKind.BACKUP, system=SYSTEM)
        assert newest.state == RunState.COMMITTED
        if MOMENTS.index(moment) >= COMMITTED_FROM:
            assert killed.state == RunState.COMMITTED
            assert [each.id for each in points] == [point.id, killed.point, good.id]
        else:
            assert (killed.state, killed.error_code) == (RunState.FAILED, "ControllerDied")
            assert [each.id for each in points] == [point.id, good.id]
        assert not installation.catalog.sessions.list(open_only=True)
    assert set(city.read(good.id)) == {b"a", b"b"}
    assert set(city.read(point.id)) == {b"a", b"b", b"c", b"d"}
