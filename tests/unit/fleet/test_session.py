"""Sessions with real agent processes over the local transport."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from datetime import timedelta

import psutil
import pytest

from drbackup import __version__
from drbackup.errors import (
    AgentDied,
    AgentMissing,
    AgentStalled,
    AgentVersionMismatch,
    ClockSkewed,
    DrbackupError,
    Interrupted,
    ObjectCorrupt,
    ProtocolViolation,
    SourceEmpty,
    StoreFull,
)
from drbackup.fleet.greeting import Expected
from drbackup.fleet.local import LocalChannel, open_channel
from drbackup.fleet.session import ANSWERERS, Timeouts, run_session
from drbackup.wire.messages import PreflightJob, PreflightResult, Result
from tests.support.doubles.memory_handler import MemoryHandler, small_agent
from tests.support.doubles.small_agent import PACKS
from tests.support.poll import PATIENCE, wait_until

LIMITS = Timeouts(hello=20, stall=20, cancel=5, clock_skew=timedelta(seconds=30))


def start(mode: str) -> LocalChannel:
    return open_channel("db1", small_agent(mode))


def run(
    mode: str, handler: MemoryHandler | None = None, limits: Timeouts = LIMITS, expected: Expected | None = None
) -> Result:
    return run_session(start(mode), PreflightJob(), handler or MemoryHandler(), limits, expected=expected)


def alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return False


def test_packs_of_several_threads_arrive_and_stray_prints_do_not_disturb() -> None:
    handler = MemoryHandler()
    result = run("relay", handler)
    assert result == PreflightResult({"known": "0", "same": "True"})
    assert len(handler.packs) == PACKS
    assert len(handler.pins) == 1
    assert handler.notes == ["all stored"]


def test_only_a_few_packs_are_in_flight_when_the_store_is_slow() -> None:
    class Slow(MemoryHandler):
        started = 0
        go = threading.Event()

        def uploaded(self, *arguments: object) -> None:
            with self.lock:
                self.started += 1
            self.go.wait(PATIENCE)
            super().uploaded(*arguments)  # type: ignore[arg-type]

    handler = Slow()
    channel = start("relay")
    held: list[int] = []

    def let_go() -> None:
        wait_until(lambda: handler.started == ANSWERERS)
        held.append(handler.started)
        handler.go.set()

    helper = threading.Thread(target=let_go)
    helper.start()
    run_session(channel, PreflightJob(), handler, LIMITS)
    helper.join()
    assert held == [ANSWERERS]
    assert len(handler.packs) == PACKS


def test_a_slow_store_is_not_blamed_on_the_agent() -> None:
    class Slow(MemoryHandler):
        def pinned(self, pinned_ns: int, position: str) -> None:
            threading.Event().wait(4.0)

    assert isinstance(run("relay", Slow(), Timeouts(stall=2.0)), PreflightResult)


def test_what_the_desk_refuses_comes_back_as_the_same_error() -> None:
    class Full(MemoryHandler):
        def uploaded(self, *arguments: object) -> None:
            raise StoreFull("no room left", where="offsite")

    with pytest.raises(StoreFull) as caught:
        run("relay", Full())
    assert caught.value.host == "db1"


def test_a_mistake_in_the_desk_is_raised_and_not_swallowed() -> None:
    class Wrong(MemoryHandler):
        def uploaded(self, *arguments: object) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run("relay", Wrong())


def test_the_agents_own_failure_keeps_its_class_and_names_the_host() -> None:
    with pytest.raises(SourceEmpty) as caught:
        run("fail")
    assert (caught.value.host, caught.value.where) == ("db1", "/srv/registry")


def test_a_bug_in_the_agent_is_a_failure_with_its_name() -> None:
    with pytest.raises(DrbackupError, match="KeyError"):
        run("bug")


def test_a_killed_agent_is_reported_with_its_signal_and_its_last_words_masked() -> None:
    with pytest.raises(AgentDied, match="killed by signal 9") as caught:
        run("die")
    assert "registry" in caught.value.message
    assert "hunter2" not in caught.value.message


def test_an_agent_that_only_sends_heartbeats_is_stalled() -> None:
    with pytest.raises(AgentStalled, match="moved nothing for 1 s"):
        run("stuck", limits=Timeouts(stall=1.0))  # it would go on for ever


def test_an_agent_that_stops_reading_is_stalled_and_ended() -> None:
    handler = MemoryHandler()
    handler.packs[bytes(32)] = bytes(32 << 20)
    channel = start("frozen")
    with pytest.raises(AgentStalled):
        run_session(channel, PreflightJob(), handler, Timeouts(stall=1.0))
    assert not alive(channel.pid)


def test_a_stop_cancels_the_agent_and_its_tools() -> None:
    handler = MemoryHandler()
    channel = start("with_child")
    stop = threading.Event()
    helper = threading.Thread(target=lambda: (handler.noted.wait(PATIENCE), stop.set()))
    helper.start()
    with pytest.raises(Interrupted):
        run_session(channel, PreflightJob(), handler, LIMITS, stop=stop)
    helper.join()
    child = int(handler.notes[0].split()[1])
    wait_until(lambda: not alive(child) and not alive(channel.pid))


def test_the_end_of_the_controller_ends_the_agent_and_its_tools() -> None:
    handler = MemoryHandler()
    channel = start("with_child")
    worker = threading.Thread(target=lambda: _quietly(channel, handler))
    worker.start()
    assert handler.noted.wait(PATIENCE)
    channel.hang_up()  # all that the kernel does for us when the controller is killed
    child = int(handler.notes[0].split()[1])
    wait_until(lambda: not alive(child) and not alive(channel.pid))
    worker.join()


def _quietly(channel: LocalChannel, handler: MemoryHandler) -> None:
    with suppress(DrbackupError):
        run_session(channel, PreflightJob(), handler, LIMITS)


def test_sigkill_of_a_working_agent_ends_the_session_and_reaps_it() -> None:
    handler = MemoryHandler()
    channel = start("ask_on")

    def kill() -> None:
        handler.pack_came.wait(PATIENCE)
        os.kill(channel.pid, 9)

    helper = threading.Thread(target=kill)
    helper.start()
    with pytest.raises(AgentDied, match="signal 9"):
        run_session(channel, PreflightJob(), handler, LIMITS)
    helper.join()
    assert not psutil.pid_exists(channel.pid)


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [
        ("noise", ProtocolViolation, "Welcome to db1"),
        ("other-stream", AgentVersionMismatch, "version 9"),
        ("other-protocol", AgentVersionMismatch, "protocol 99"),
        ("old", AgentVersionMismatch, "0.0.1"),
        ("garbage", ProtocolViolation, "can't be read"),
        ("flood", ProtocolViolation, "claims"),
        ("hour-ahead", ClockSkewed, "1:00:00 ahead of"),
        ("hour-behind", ClockSkewed, "1:00:00 behind"),
        ("ungranted", ProtocolViolation, "never granted"),
        ("lying", ObjectCorrupt, "does not hash"),
        ("wrong_result", ProtocolViolation, "RestoreResult"),
    ],
)
def test_a_wrong_peer_is_told_apart(mode: str, kind: type[DrbackupError], words: str) -> None:
    handler = MemoryHandler()
    with pytest.raises(kind, match=words) as caught:
        run(mode, handler)
    assert caught.value.host == "db1"
    assert not handler.packs


def test_another_file_than_the_deployed_one_is_refused() -> None:
    with pytest.raises(AgentVersionMismatch, match="not the deployed one"):
        run("other-file", expected=Expected(__version__, "cd" * 32))


def test_an_agent_that_never_speaks_is_given_up() -> None:
    with pytest.raises(AgentStalled, match="did not say hello within 1 s"):
        run("silent", limits=Timeouts(hello=1.0))


def test_a_missing_program_is_a_missing_agent() -> None:
    with pytest.raises(AgentMissing, match="No such file"):
        open_channel("db1", ["/nonexistent/drbackup-agent", "serve"])


def test_a_program_that_fails_at_its_start_is_a_missing_agent() -> None:
    with pytest.raises(AgentMissing, match="no such module"):
        run_session(
            open_channel("db1", ["sh", "-c", "echo no such module >&2; exit 1"]),
            PreflightJob(),
            MemoryHandler(),
            LIMITS,
        )
