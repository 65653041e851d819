"""The checks of one agent, made as a run would use it, with one line for each. They change nothing.

Checks that need an earlier one that failed are shown as not tried, so that a reader misses none.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import msgspec

from drbackup import __version__
from drbackup.errors import (
    AgentVersionMismatch,
    AuthenticationRefused,
    ClockSkewed,
    DrbackupError,
    HostKeyChanged,
    HostKeyUnknown,
    HostUnreachable,
    Said,
    say,
)
from drbackup.fleet.channel import Channel
from drbackup.fleet.greeting import Expected, judge_clock, judge_version
from drbackup.fleet.no_requests import NoRequests
from drbackup.fleet.session import AgentSession, Timeouts
from drbackup.wire.messages import Hello, PreflightJob, PreflightResult

STEPS = (say("reachable"), say("host key"), say("login"), say("agent"), say("version"), say("clock"))


class CheckLine(msgspec.Struct, frozen=True):
    """The result of one check."""

    name: str  # may be a Said
    ok: bool | None  # None: not tried, because an earlier one failed
    detail: str = ""  # may be a Said


def check_agent(
    connect: Callable[[], Channel],
    expected: Callable[[], Expected | None],
    timeouts: Timeouts,
    clock: Callable[[], int],
    *,
    local: bool,
) -> tuple[CheckLine, ...]:
    """The results of all checks of one agent, in the order of a run. No fault of agent or network raises.

    ``expected`` returns the agent file that must answer, or None when none was deployed from here. ``clock`` returns
    our time in ns since the epoch. ``local``: the agent is a child process. Only
    :mod:`drbackup.controller.runs.agent` calls this.
    """
    try:
        channel = connect()
    except DrbackupError as failure:
        return _stopped_at(_step_of(failure), failure)
    session = AgentSession(channel, timeouts, clock=clock)
    try:
        try:
            hello = session.greet()
        except DrbackupError as failure:
            return _stopped_at("version" if isinstance(failure, AgentVersionMismatch) else "agent", failure)
        heard = clock()
        wanted = expected()
        lines = [
            *_passed(*STEPS[:3], local=local),
            CheckLine(say("agent"), True, f"{hello.hostname}, Python {hello.python}, {hello.platform}"),
            _version(hello, wanted),
            _clock(hello, heard, timeouts.clock_skew),
        ]
        return (*lines, *_host_lines(session, sound=all(line.ok for line in lines)))
    except DrbackupError as failure:
        return _stopped_at("agent", failure)
    finally:
        session.close()


def _step_of(failure: DrbackupError) -> str:
    match failure:
        case HostUnreachable():
            return "reachable"
        case HostKeyUnknown() | HostKeyChanged():
            return "host key"
        case AuthenticationRefused():
            return "login"
        case _:
            return "agent"


def _words(failure: DrbackupError) -> Said:
    return say("{what} — {hint}", what=failure.said, hint=failure.said_hint)


def _stopped_at(step: str, failure: DrbackupError) -> tuple[CheckLine, ...]:
    at = STEPS.index(step)
    # An unpinned host is refused before it is connected to.
    reached: bool | None = None if isinstance(failure, HostKeyUnknown) else True
    lines = [CheckLine(name, reached) for name in STEPS[:at]]
    lines.append(CheckLine(step, False, _words(failure)))
    return (*lines, *(CheckLine(name, None) for name in STEPS[at + 1 :]), CheckLine(say("host"), None))


def _passed(*names: str, local: bool) -> list[CheckLine]:
    return [CheckLine(name, True, say("a local process") if local else "") for name in names]


def _version(hello: Hello, wanted: Expected | None) -> CheckLine:
    try:
        judge_version(hello, wanted or Expected(__version__))
    except AgentVersionMismatch as wrong:
        return CheckLine(say("version"), False, _words(wrong))
    detail = say(
        "{version}, SHA-256 {sha}… as deployed" if wanted else "{version}, not deployed from here",
        version=hello.version,
        sha=hello.bundle[:12],
    )
    return CheckLine(say("version"), True, detail)


def _clock(hello: Hello, heard_ns: int, limit: timedelta) -> CheckLine:
    try:
        skew_ns = judge_clock(hello, heard_ns, limit)
    except ClockSkewed as wrong:
        return CheckLine(say("clock"), False, _words(wrong))
    return CheckLine(say("clock"), True, f"{skew_ns / 1e9:+.1f} s")


def _host_lines(session: AgentSession, *, sound: bool) -> list[CheckLine]:
    """The agent's own checks of its host: space, state folder, tools. A wrong agent is given no job."""
    if not sound:
        return [CheckLine(say("host"), None)]
    try:
        result = session.work(PreflightJob(), NoRequests())
    except DrbackupError as failure:
        return [CheckLine(say("host"), False, _words(failure))]
    assert isinstance(result, PreflightResult)
    return [CheckLine(say("host: {name}", name=check.name), check.good, check.detail) for check in result.checks]
