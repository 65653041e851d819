"""Other programs: exit codes, last words, stalls, and no survivors."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import psutil
import pytest

from drbackup.errors import SourceUnreadable, ToolFailed, ToolMissing, UsageError
from drbackup.wire.specs import InPlaceTarget
from drbackup_agent.sources.command import CommandSpec, command_environment
from drbackup_agent.sources.pipeline import feed, output, stream
from tests.support.doubles.source_runs import SourceRuns
from tests.support.poll import wait_until


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_output_followed_by_a_bad_exit_is_a_failure_with_its_last_words() -> None:
    with pytest.raises(ToolFailed, match=r"job: python.* exit code 7: .*no such tape"):
        output(python("import sys; print('x'); sys.stderr.write('no such tape\\n'); sys.exit(7)"), label="job")


def test_a_killed_program_is_a_failure() -> None:
    with pytest.raises(ToolFailed, match="SIGKILL"):
        output(python("import os; os.kill(os.getpid(), 9)"), label="job")


def test_a_silent_program_is_killed_with_its_children_after_the_stall_time(tmp_path: Path) -> None:
    code = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
sys.stdout.write("half"); sys.stdout.flush()
time.sleep(100)
"""
    with pytest.raises(ToolFailed, match="moved no bytes for 1 s"):
        list(stream(python(code), label="job", stall_seconds=1))
    child = int((tmp_path / "pid").read_text())
    wait_until(lambda: not is_alive(child))


def test_much_on_stderr_does_not_stop_the_program() -> None:
    assert output(python("import sys; sys.stderr.write('e' * 1000000); print('done')"), label="job") == b"done\n"


def is_alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def test_leaving_early_ends_the_program(tmp_path: Path) -> None:
    code = f"import os\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\nwhile True: print('y' * 1000)"
    blocks = stream(python(code), label="job")
    next(blocks)
    blocks.close()  # type: ignore[attr-defined]
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_a_reader_that_stops_early_is_a_failure_even_with_exit_code_zero() -> None:
    with pytest.raises(ToolFailed, match="stopped reading"):
        feed(python("import sys; sys.stdin.buffer.read(10)"), [b"x" * 1000] * 5000, label="job", stall_seconds=20)


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ToolMissing, match="/no/such/program"):
        output(["/no/such/program"], label="job")


@pytest.mark.parametrize(
    "text",
    [
        "password=hunter2",
        "PGPASSWORD='hunter2'",
        "--api-key: hunter2",
        'secret = "hunter2"',
        "postgres://user:hunter2@db/x",
        "token=hunter2 and more",
        "https://store/x?X-Amz-Credential=hunter2&x=1",
        "Authorization: Basic hunter2",
        "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_password_is_masked(text: str) -> None:
    said = f"import sys; sys.stderr.write({text!r}); sys.exit(1)"
    with pytest.raises(ToolFailed) as failed:
        output(python(said), label="job")
    assert "hunter2" not in failed.value.message
    assert "***" in failed.value.message


# --- the command source ------------------------------------------------------------------------------------------


def test_the_environment_file_reaches_both_programs(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("# a comment\nDRB_WORD='two words'\n\nDRB_OTHER=x=y\n")
    write = tuple(python("import os; print(os.environ['DRB_WORD'], os.environ['DRB_OTHER'])"))
    read = tuple(
        python(f"import os, sys; open({str(tmp_path / 'out')!r}, 'w').write(os.environ['DRB_WORD'] + sys.stdin.read())")
    )
    spec = CommandSpec(write, read, environment_file=str(tmp_path / "env"))
    runs = SourceRuns(tmp_path / "state")
    runs.restore(runs.backup(spec), InPlaceTarget(spec))
    assert (tmp_path / "out").read_text() == "two wordstwo words x=y\n"


def test_a_broken_environment_file_is_named_with_its_line_but_not_its_text(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=1\nhunter2\n")
    with pytest.raises(SourceUnreadable, match="env:2") as caught:
        command_environment(CommandSpec(("x",), environment_file=str(tmp_path / "env")))
    assert "hunter2" not in caught.value.message


def test_a_command_without_a_twin_restores_to_a_folder_only(tmp_path: Path) -> None:
    runs = SourceRuns(tmp_path / "state")
    spec = CommandSpec(tuple(python("print('x')")), name="出.txt")
    run = runs.backup(spec)
    with pytest.raises(UsageError):
        runs.restore(run, InPlaceTarget(spec))
    runs.restore(run, tmp_path / "out")
    assert (tmp_path / "out" / "出.txt").read_text() == "x\n"


def test_a_restore_command_that_fails_fails_the_restore(tmp_path: Path) -> None:
    runs = SourceRuns(tmp_path / "state")
    spec = CommandSpec(tuple(python("print('x')")), tuple(python("import sys; sys.stdin.read(); sys.exit(4)")))
    run = runs.backup(spec)
    with pytest.raises(ToolFailed, match="exit code 4"):
        runs.restore(run, InPlaceTarget(spec))


def test_names_that_are_no_file_names_are_refused(tmp_path: Path) -> None:
    for name in ("", ".", "..", "a/b"):
        with pytest.raises(UsageError):
            SourceRuns(tmp_path / "state").backup(CommandSpec(("true",), name=name))
    assert os.listdir(tmp_path / "state") == []
