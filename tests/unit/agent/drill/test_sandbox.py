"""A drill's sandbox is private while it lives, and nothing of it is left afterwards, however it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from drbackup_agent.drill.sandbox import MARK, marked_processes, open_sandbox, wipe_leftovers
from drbackup_agent.sources.postgres.instance import client_environment, start_postgres
from tests.support.poll import PATIENCE, wait_until

needs_postgres = pytest.mark.postgres

HOLDER = """
import sys, subprocess, time
from pathlib import Path
from drbackup_agent.drill.sandbox import open_sandbox
with open_sandbox(Path(sys.argv[1])) as sandbox:
    (sandbox.folder_for("scans") / "citizen.txt").write_text("personal")
    child = subprocess.Popen(["sleep", "600"])
    if len(sys.argv) > 2:
        from drbackup_agent.sources.postgres.instance import start_postgres
        start_postgres(sandbox, "registry")
    print(sandbox.mark, child.pid, flush=True)
    time.sleep(600)
"""


def pids_of(mark: str, places: list[Path]) -> set[int]:
    return {process.pid for process in marked_processes(mark, places)}


def start_holder(parent: Path, *more: str) -> tuple[subprocess.Popen[str], str]:
    """A process that works in a sandbox; its mark."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(parent), *more], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    return holder, holder.stdout.readline().split()[0]


def test_a_sandbox_is_fresh_and_for_its_owner_only(tmp_path: Path) -> None:
    with open_sandbox(tmp_path / "state") as sandbox, open_sandbox(tmp_path / "state") as other:
        assert sandbox.folder != other.folder
        for folder in (sandbox.folder, sandbox.folder_for("scans"), sandbox.outside(tmp_path)):
            assert folder.stat().st_mode & 0o7777 == 0o700


def test_wiping_removes_everything_and_says_how_much(tmp_path: Path) -> None:
    with open_sandbox(tmp_path / "state") as sandbox:
        locked = sandbox.folder_for("scans")
        (locked / "a").write_bytes(b"12345")
        (locked / "link").symlink_to("/etc/passwd")
        locked.chmod(0o500)
        elsewhere = sandbox.outside(tmp_path)
        (elsewhere / "b").write_bytes(b"678")
        wiped = sandbox.wipe()
    assert wiped.proven
    assert "3 file(s)" in wiped.text
    assert not sandbox.folder.exists()
    assert not elsewhere.exists()
    assert Path("/etc/passwd").exists()
    assert MARK not in os.environ


def test_wiping_happens_when_the_drill_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with open_sandbox(tmp_path) as sandbox:
            (sandbox.folder / "x").write_text("personal")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not list(tmp_path.glob("drill-*"))


def test_a_process_started_in_the_sandbox_does_not_survive_it(tmp_path: Path) -> None:
    with open_sandbox(tmp_path) as sandbox:
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        strayed = subprocess.Popen(["sleep", "600"], cwd=sandbox.folder, env={}, start_new_session=True)
        wait_until(lambda: pids_of(sandbox.mark, [sandbox.folder]) >= {child.pid, strayed.pid})
        assert sandbox.wipe().proven
    assert child.wait(PATIENCE) == strayed.wait(PATIENCE) == -signal.SIGKILL


EMPTY_FIRST = """
import ctypes, sys
words = (ctypes.c_char_p * 3)(b"sleep", b"600", None)
environment = (ctypes.c_char_p * 4)(b"A=1", b"", sys.argv[1].encode(), None)
ctypes.CDLL(None).execve(b"/bin/sleep", words, environment)
"""


def test_a_process_that_emptied_a_part_of_its_environment_does_not_survive_it_either(tmp_path: Path) -> None:
    with open_sandbox(tmp_path) as sandbox:
        mark = f"{MARK}={sandbox.mark}"
        child = subprocess.Popen([sys.executable, "-c", EMPTY_FIRST, mark], env={}, cwd="/", start_new_session=True)
        wait_until(lambda: psutil.Process(child.pid).name() == "sleep")
        assert pids_of(sandbox.mark, []) == {child.pid}
        assert sandbox.wipe().proven
    assert child.wait(5) == -signal.SIGKILL


def test_a_process_that_ended_and_was_not_waited_for_is_none(tmp_path: Path) -> None:
    with open_sandbox(tmp_path) as sandbox:
        child = subprocess.Popen(["true"], cwd=sandbox.folder)
        wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
        assert pids_of(sandbox.mark, [sandbox.folder]) == set()
        assert sandbox.wipe().proven
    assert child.wait(5) == 0


def test_a_living_drills_sandbox_is_left_alone(tmp_path: Path) -> None:
    with open_sandbox(tmp_path) as sandbox:
        assert wipe_leftovers(tmp_path) == []
        assert sandbox.folder.exists()


def test_what_a_killed_drill_left_is_wiped_before_the_next_begins(tmp_path: Path) -> None:
    holder, mark = start_holder(tmp_path)
    holder.kill()
    holder.wait(PATIENCE)
    assert (tmp_path / f"drill-{mark}" / "scans" / "citizen.txt").exists()
    assert marked_processes(mark, [])
    with open_sandbox(tmp_path) as fresh:
        assert [path.name for path in tmp_path.glob("drill-*")] == [fresh.folder.name]
    assert marked_processes(mark, []) == []


def test_a_noted_place_with_a_foreign_name_is_never_removed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    with open_sandbox(tmp_path / "state") as sandbox:
        left = sandbox.folder.parent / ("drill-" + "ab" * 16)
        left.mkdir()
        (left / ".places").write_text(f'["{left}", "{precious}"]')
    with open_sandbox(tmp_path / "state"):
        assert not left.exists()
    assert precious.exists()


@needs_postgres
def test_the_throw_away_database_answers_on_its_socket_and_nowhere_else(tmp_path: Path) -> None:
    with open_sandbox(tmp_path) as sandbox:
        instance = start_postgres(sandbox, "registry")
        environment = client_environment(instance, read_only=True, timeout_seconds=5)
        told = _psql(environment, "select current_setting('listen_addresses'), current_user")
        assert told.stdout.strip() == "|drbackup_drill"
        assert instance.socket.stat().st_mode & 0o777 == 0o700
        denied = _psql(environment, "create table t(a int)")
        assert "read-only transaction" in denied.stderr
        assert instance.isolation.startswith("no network") or "no TCP port" in instance.isolation
        if os.geteuid() == 0:
            assert instance.account != "root"
            assert instance.isolation.startswith("no network")
        places = [sandbox.folder, instance.socket]
        wiped = sandbox.wipe()
    assert wiped.proven, wiped.text
    assert marked_processes(sandbox.mark, places) == []
    assert not instance.socket.exists()


@needs_postgres
def test_the_throw_away_database_dies_with_a_killed_agent(tmp_path: Path) -> None:
    holder, mark = start_holder(tmp_path, "postgres")
    holder.kill()
    holder.wait(PATIENCE)
    wait_until(lambda: all(_name(process) != "postgres" for process in marked_processes(mark, [])))
    with open_sandbox(tmp_path):
        assert len(list(tmp_path.glob("drill-*"))) == 1
    assert not list(Path("/tmp").glob(f"drb-{mark[:12]}-*"))
    assert not list(Path("/var/tmp").glob(f"drb-{mark[:12]}-*"))


def _psql(environment: dict[str, str], query: str) -> subprocess.CompletedProcess[str]:
    argv = ["psql", "-X", "-At", "-d", "postgres", "-c", query]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=20)


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def test_a_sandbox_that_is_wiped_while_leftovers_are_looked_for_does_not_end_the_next_drill(tmp_path: Path) -> None:
    (tmp_path / "drill-ended").symlink_to(tmp_path / "no longer there")  # listed, and gone when it is opened
    with open_sandbox(tmp_path) as sandbox:
        assert sandbox.folder.is_dir()
