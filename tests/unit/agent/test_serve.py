"""The agent's main program: its words, its streams, its clock, its stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from drbackup import __version__
from drbackup.errors import Interrupted
from drbackup.wire.framing import GREETING, FrameStream
from drbackup.wire.messages import (
    PROTOCOL,
    Failed,
    Finished,
    Hello,
    Job,
    Note,
    PreflightJob,
    PreflightResult,
    Result,
    Start,
    Welcome,
)
from drbackup_agent.serve import Streams, serve
from drbackup_agent.session.forced import chosen_verb
from drbackup_agent.session.identity import state_folder
from drbackup_agent.session.link import Link
from tests.support.doubles.memory_handler import small_agent
from tests.support.doubles.wire_pair import wire_pair

AGENT = [sys.executable, "-m", "drbackup_agent"]
SECOND = 10**9


@pytest.mark.parametrize(
    ("asked", "verb"),
    [
        ("", "serve"),
        ("serve", "serve"),
        ("version", "version"),
        ("/opt/drbackup-agent/current/drbackup-agent preflight", "preflight"),
        ("/opt/other/bin/python serve", None),
        ("forced", None),
        ("serve --state /etc", None),
        ("serve; id", None),
        ("serve\nid", None),
        ("'serve", None),
        ("sh -c id", None),
        ("$(id)", None),
        ("scp -t /", None),
    ],
)
def test_the_forced_command_allows_three_words(asked: str, verb: str | None) -> None:
    assert chosen_verb(asked) == verb


def test_the_state_folder_is_the_named_one_then_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRBACKUP_AGENT_STATE", "/srv/state")
    assert state_folder() == Path("/srv/state")
    assert state_folder("/other") == Path("/other")
    monkeypatch.delenv("DRBACKUP_AGENT_STATE")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/x/state")
    assert state_folder() == Path("/home/x/state/drbackup-agent")


def start(mode: str) -> tuple[subprocess.Popen[bytes], FrameStream]:
    process = subprocess.Popen(small_agent(mode), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.read(len(GREETING)) == GREETING
    stream = FrameStream(process.stdout, process.stdin)
    hello, _ = stream.receive()
    assert isinstance(hello, Hello)
    assert (hello.version, hello.protocol, hello.bundle) == (__version__, PROTOCOL, "")
    return process, stream


def begin(stream: FrameStream) -> None:
    stream.send(Welcome(PROTOCOL, "s1", 0))
    stream.send(Start(PreflightJob()))


def test_a_session_ends_with_its_result_and_status_0() -> None:
    process, stream = start("quick")
    begin(stream)
    assert stream.receive()[0] == Finished(PreflightResult({"job": "ok: done"}))
    assert process.stdout is not None
    assert process.stdout.read() == b""
    assert process.wait(10) == 0
    process.communicate()


def test_a_controller_that_hangs_up_before_the_job_ends_the_agent() -> None:
    process, _ = start("quick")
    process.communicate(timeout=10)
    assert process.returncode == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_job_and_the_controller_is_told(number: signal.Signals) -> None:
    process, stream = start("with_child")
    begin(stream)
    assert isinstance(stream.receive()[0], Note)
    process.send_signal(number)
    failed, _ = stream.receive()
    assert isinstance(failed, Failed)
    assert (failed.code, number.name in failed.fields["message"]) == (Interrupted.__name__, True)
    process.communicate(timeout=10)
    assert process.returncode == 1


def test_no_job_outlives_its_controller_nor_do_its_tools() -> None:
    process, stream = start("deaf")
    begin(stream)
    note, _ = stream.receive()
    assert isinstance(note, Note)
    tool = psutil.Process(int(note.text.removeprefix("child ")))
    process.communicate(timeout=10)  # as when the controller was killed: nothing comes any more
    assert process.returncode == 1
    psutil.wait_procs([tool], timeout=10)
    assert not tool.is_running() or tool.status() == psutil.STATUS_ZOMBIE


def test_the_skew_is_measured_against_the_controllers_clock() -> None:
    """Both clocks are functions here: the agent's says 5000 s, the controller's 1400 s."""
    pair = wire_pair()
    seen: list[int] = []

    def job(_job: Job, _link: Link, _state: Path, skew_ns: int) -> Result:
        seen.append(skew_ns)
        return PreflightResult({})

    pair.controller.send(Welcome(PROTOCOL, "s1", 1400 * SECOND))
    pair.controller.send(Start(PreflightJob()))
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    try:
        assert serve(job, Path("/x"), Streams(*pair.agent_files), clock=lambda: 5000 * SECOND) == 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert seen == [3600 * SECOND]
    pair.cut()
    pair.close()


def test_an_unknown_word_is_a_usage_error() -> None:
    ran = subprocess.run([*AGENT, "format-disk"], capture_output=True, text=True, timeout=30)
    assert ran.returncode == 2
    assert ran.stdout == ""
