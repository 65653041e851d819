"""The agent's main program: one session on stdin and stdout, then the process ends.

Invariants:

- stdout carries frames and nothing else, whatever a library prints;
- stdin's end, SIGTERM, SIGHUP or a cancellation stop the job;
- when this process ends, so do the tools that it started in its process group.

Order at the start: the streams are moved to private descriptors before any other code can use 0 and 1. The greeting and
Hello are sent before the job's code is imported, because the clock's skew needs a fast answer. The job runs in the main
thread, where some sources need signals and thread-local database handles.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import pkgutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

import drbackup_agent
from drbackup.errors import AgentDied, DrbackupError, Interrupted, ProtocolViolation, say
from drbackup.system.memory import end_uncollected, keep_freed_memory, relax_gc
from drbackup.wire.error_fields import fields_of
from drbackup.wire.framing import GREETING, ByteReader, FrameStream
from drbackup.wire.messages import (
    PROTOCOL,
    Failed,
    Finished,
    Job,
    PreflightJob,
    PreflightResult,
    Result,
    Start,
    Welcome,
)
from drbackup_agent.session.forced import ALLOWED, chosen_verb
from drbackup_agent.session.identity import described, hello, state_folder
from drbackup_agent.session.link import Link

RunJob = Callable[[Job, Link, Path, int], Result]
"""(job, link, state folder, skew in nanoseconds) → result; raises :class:`DrbackupError`."""

STOP_GRACE_SECONDS = 20.0
_REFUSED_STATUS = 126

log = logging.getLogger("drbackup_agent")


class _Descriptor:
    """A reader of a descriptor, without a buffer of its own.

    A buffered reader has a mutex. The interpreter aborts at its end if a thread still waits inside it.
    """

    def __init__(self, number: int) -> None:
        self._number = number

    def read(self, size: int, /) -> bytes:
        return os.read(self._number, size)


class Streams(msgspec.Struct, frozen=True):
    """The session's two streams, which neither ``print`` nor child processes can reach."""

    reader: ByteReader  # what the controller sends
    writer: BinaryIO  # what the controller receives


def take_streams() -> Streams:
    """The streams on private descriptors that no child inherits. 0 is /dev/null and 1 is stderr afterwards."""
    sys.stdout.flush()
    reader = _Descriptor(os.dup(0))
    writer = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return Streams(reader, writer)


def serve(run_job: RunJob, state: Path, streams: Streams, clock: Callable[[], int] = time.time_ns) -> int:
    """The exit status of one session: 0 when the job finished, 1 when it failed.

    ``clock`` gives UTC nanoseconds. Raises :class:`ProtocolViolation` for a wrong start, and any bug of the job after
    it was told to the controller.
    """
    stream = FrameStream(streams.reader, streams.writer)
    try:
        streams.writer.write(GREETING)
        stream.send(hello(clock))
        # While the controller looks at Hello. No daemon: an interpreter that ends in the middle of an import may abort.
        threading.Thread(target=_load_jobs, name="load").start()
        welcome, job = _read_start(stream)
    except (AgentDied, BrokenPipeError):
        log.info("the controller hung up before it gave a job")
        return 1
    skew_ns = clock() - welcome.clock_ns
    link = Link(stream)
    _stop_on_signals(link)
    over = threading.Event()
    for work in (link.listen, link.heartbeat, lambda: _insist(link, over)):
        threading.Thread(target=work, daemon=True).start()
    log.info("session %s: %s", welcome.session or "-", type(job).__name__)
    try:
        result = run_job(job, link, state, skew_ns)
        stream.send(Finished(result))
    except DrbackupError as failure:
        log.error("%s: %s", failure.code, failure.message)
        _say_failed(stream, failure.code, failure)
        return 1
    except Exception as bug:
        _say_failed(
            stream,
            DrbackupError.__name__,
            DrbackupError(say("the agent broke: {kind}: {why}", kind=type(bug).__name__, why=bug)),
        )
        raise
    finally:
        over.set()
    return 0


def _read_start(stream: FrameStream) -> tuple[Welcome, Job]:
    welcome, _ = stream.receive()
    if not isinstance(welcome, Welcome) or welcome.protocol != PROTOCOL:
        raise ProtocolViolation("the controller did not begin with a Welcome of our protocol")
    start, _ = stream.receive()
    if not isinstance(start, Start):
        raise ProtocolViolation(say("the controller sent {kind} instead of a job", kind=type(start).__name__))
    return welcome, start.job


def _say_failed(stream: FrameStream, code: str, error: DrbackupError) -> None:
    fields = {name: text for name, text in fields_of(error).items() if name != "host"}  # the controller knows it
    try:
        stream.send(Failed(code, fields))
    except AgentDied:
        log.warning("nobody is left to be told")


def _stop_on_signals(link: Link) -> None:
    def stop(number: int, _frame: object) -> None:
        reason = Interrupted(say("the agent was told to stop ({number})", number=signal.Signals(number).name))
        # In a thread: the interrupted code may hold the very mutexes that ending the link takes.
        threading.Thread(target=link.end, args=(reason,), daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)


def _insist(link: Link, over: threading.Event) -> None:
    """Ends the process and its group when a cancelled job (in a tool, on a dead disk) does not stop within 20 s."""
    link.cancelled.wait()
    if over.wait(STOP_GRACE_SECONDS):
        return
    log.error("the job did not stop within %g s: ending the process", STOP_GRACE_SECONDS)
    end_process_group()
    os._exit(1)


def own_process_group() -> None:
    """This process leads its own process group afterwards, so that its children can be ended together."""
    if os.getpgrp() != os.getpid():
        try:
            os.setpgid(0, 0)
        except PermissionError:
            log.debug("the session's leader keeps its group")


def end_process_group() -> None:
    """Every other process of our own group gets SIGTERM; none does when the group is not ours. From any thread."""
    if os.getpgrp() == os.getpid():
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # Other threads may not set a handler and need not: while a job runs, ours only tells the job to stop.
        os.killpg(os.getpgrp(), signal.SIGTERM)


def _serve_here(state: Path) -> int:
    streams = take_streams()
    own_process_group()
    try:
        return serve(_run_job, state, streams)
    finally:
        end_process_group()
        end_uncollected()


def _load_jobs() -> None:
    """Imports what a job needs, also what its libraries would otherwise load during the work."""
    relax_gc()
    importlib.import_module("drbackup_agent.jobs")
    importlib.import_module("cryptography.hazmat.backends.openssl.backend")


def _run_job(job: Job, link: Link, state: Path, skew_ns: int) -> Result:
    from drbackup_agent.jobs import run_job

    keep_freed_memory()
    relax_gc()
    return run_job(job, link, state, skew_ns)


def _preflight_here(state: Path) -> int:
    """Prints the host's own checks for its administrator, without a controller. Returns the exit status."""
    nowhere = FrameStream(open(os.devnull, "rb"), open(os.devnull, "wb"))  # noqa: SIM115 — for the process's life
    result = _run_job(PreflightJob(), Link(nowhere), state, 0)
    assert isinstance(result, PreflightResult)
    for check in result.checks:
        sys.stdout.write(f"{check.name}: {check.line}\n")
    return 0 if all(check.good for check in result.checks) else 1


def _show_version() -> int:
    """Prints the version, after every module of the agent was imported. Returns the exit status.

    So a bundle that can't work is found when it is deployed, not at night by the first drill.
    """
    for module in pkgutil.walk_packages(drbackup_agent.__path__, "drbackup_agent."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    sys.stdout.write(f"{described()}\n")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status of ``drbackup-agent serve|version|preflight|forced [--state FOLDER]``."""
    parser = argparse.ArgumentParser(prog="drbackup-agent", description="drbackup's agent on a department's server.")
    parser.add_argument("verb", choices=(*ALLOWED, "forced"))
    parser.add_argument("--state", default="", metavar="FOLDER", help="where the agent keeps its cache")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    verb: str | None = chosen.verb
    if verb == "forced":
        verb = chosen_verb(os.environ.get("SSH_ORIGINAL_COMMAND", ""))
        if verb is None:
            sys.stderr.write("drbackup-agent: this key may only ask for: " + ", ".join(ALLOWED) + "\n")
            return _REFUSED_STATUS
    state = state_folder(chosen.state)
    match verb:
        case "version":
            return _show_version()
        case "preflight":
            return _preflight_here(state)
        case _:
            return _serve_here(state)
