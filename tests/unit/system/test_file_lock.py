"""File locks: one holder among all processes of a host, and none that outlives its process."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from drbackup.system.file_lock import read_note, try_file_lock, wait_for_file_lock
from tests.support.poll import wait_until

HOLDER = """
import sys
from pathlib import Path
from drbackup.system.file_lock import {how}

lock = {how}(Path(sys.argv[1]))
print("none" if lock is None else "held", flush=True)
sys.stdin.readline()
{end}
"""


@contextmanager
def other_process(path: Path, how: str = "try_file_lock", end: str = "") -> Iterator[subprocess.Popen[str]]:
    """Another process that takes the lock, says so, and keeps it until it is told to end."""
    argv = [sys.executable, "-c", HOLDER.format(how=how, end=end), str(path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_of_two_processes_one_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with other_process(path) as other:
        assert said(other) == "held"
        assert try_file_lock(path) is None
        other.communicate("go on\n")
        with try_file_lock(path) or pytest.fail("its holder has ended"), other_process(path) as late:
            assert said(late) == "none"


def test_it_dies_with_a_killed_process_and_its_file_says_nothing_by_being_there(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with other_process(path) as other:
        assert said(other) == "held"
        other.send_signal(signal.SIGKILL)
        other.wait(60)
    assert path.exists()
    lock = try_file_lock(path)
    assert lock is not None
    lock.release()


def test_who_waits_gets_it_when_it_is_released_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with ExitStack() as held:
        held.enter_context(wait_for_file_lock(path))
        with other_process(path, "wait_for_file_lock") as other:
            heard: list[str] = []
            listener = threading.Thread(target=lambda: heard.append(said(other)))
            listener.start()
            wait_until(lambda: waits_for_a_file_lock(other.pid))
            assert heard == []
            held.close()
            listener.join(60)
            assert heard == ["held"]


def waits_for_a_file_lock(process: int) -> bool:
    """As the kernel lists it: ``1: -> FLOCK  ADVISORY  WRITE <process> …``."""
    lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    return any("->" in line and f" {process} " in line for line in lines)


def test_who_waited_for_a_file_that_was_removed_does_not_hold_a_lock_of_nothing(tmp_path: Path) -> None:
    """Else a third, who makes the file anew, would hold it at the same time."""
    path = tmp_path / "used-once"
    first = wait_for_file_lock(path)
    with other_process(path, "wait_for_file_lock") as other:
        wait_until(lambda: waits_for_a_file_lock(other.pid))
        first.release(remove=True)
        assert said(other) == "held"
        assert path.exists(), "the lock it holds is that of the file which is there"
        assert try_file_lock(path) is None


def test_two_holders_in_one_process_are_two(tmp_path: Path) -> None:
    with wait_for_file_lock(tmp_path / "lock"):
        assert try_file_lock(tmp_path / "lock") is None


def test_a_program_that_the_holder_starts_does_not_keep_it(tmp_path: Path) -> None:
    """A server that a drill started must not hold the drill's sandbox after the drill has died."""
    path = tmp_path / "lock"
    lock = wait_for_file_lock(path)
    argv = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False) as child:
        assert child.stdout is not None
        child.stdout.readline()
        lock.release()
        again = try_file_lock(path)
        child.kill()
    assert again is not None
    again.release()


def test_whoever_finds_it_held_reads_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert read_note(path) == ""
    path.write_text("a longer note of an earlier holder\n")
    with wait_for_file_lock(path) as lock:
        lock.leave_note("4711\n")
        assert read_note(path) == "4711"
    assert stat.S_IMODE(path.stat().st_mode) & 0o022 == 0


def test_releasing_twice_never_closes_somebody_elses_file(tmp_path: Path) -> None:
    lock = wait_for_file_lock(tmp_path / "lock")
    lock.release()
    with (tmp_path / "other").open("wb") as other:  # may have been given the lock's number
        lock.release()
        other.write(b"still open")
    assert (tmp_path / "other").read_bytes() == b"still open"
