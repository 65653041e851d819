"""The begin of a session: the greeting, and the checks of the agent's version, file and clock.

Nothing is sent to the host before all of it was judged, so a wrong agent never sees a job or a key.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from drbackup.errors import (
    AgentDied,
    AgentMissing,
    AgentVersionMismatch,
    ClockSkewed,
    ProtocolViolation,
    Said,
    say,
    say_all,
)
from drbackup.fleet.channel import Channel
from drbackup.system.masking import masked
from drbackup.wire.framing import GREETING, ByteReader, FrameStream
from drbackup.wire.messages import PROTOCOL, Hello

_FAMILY = b"DRBACKUP-AGENT/"
_NOISE_SHOWN = 200  # bytes


class Expected(msgspec.Struct, frozen=True):
    """The agent that must answer."""

    version: str
    bundle: str = ""  # SHA-256 of the deployed file, hex; empty: not deployed from here


def read_greeting(reader: ByteReader) -> None:
    """A guarantee that the stream began with our greeting, which is now read.

    Raises :class:`AgentVersionMismatch` for another version's greeting, and :class:`AgentDied` when the stream ended
    first. Raises :class:`ProtocolViolation` for other bytes, and quotes them.
    """
    got = b""
    while len(got) < len(GREETING):
        part = _read(reader, len(GREETING) - len(got))
        if not part and not got:
            raise AgentDied("the agent ended before it said anything")
        got += part
        if not part or not GREETING.startswith(got):
            break
    if got == GREETING:
        return
    if got.startswith(_FAMILY):
        spoken = masked(got[len(_FAMILY) :].split(b"\n")[0].decode("ascii", "replace"))
        raise AgentVersionMismatch(
            say("the agent on the host speaks stream version {spoken}, we speak 1", spoken=spoken)
        )
    while len(got) < _NOISE_SHOWN and b"\n" not in got:
        part = _read(reader, _NOISE_SHOWN - len(got))
        if not part:
            break
        got += part
    noise = masked(got.decode("utf-8", "replace"))[:_NOISE_SHOWN]
    raise ProtocolViolation(
        say("something printed to stdout before the agent spoke: {noise}", noise=repr(noise)),
        hint="a shell profile or login script on the host prints text: silence it for non-interactive logins",
    )


def _read(reader: ByteReader, size: int) -> bytes:
    try:
        return reader.read(size)
    except (OSError, ValueError) as gone:
        raise AgentDied(say("the connection ended before the agent spoke: {why}", why=gone)) from gone


def read_hello(reader: ByteReader, stream: FrameStream) -> Hello:
    """The agent's :class:`Hello`, which follows the greeting and has our protocol version.

    Raises the errors of :func:`read_greeting`.
    """
    read_greeting(reader)
    hello, body = stream.receive()
    if not isinstance(hello, Hello) or body:
        raise ProtocolViolation(say("the agent began with {kind} instead of Hello", kind=type(hello).__name__))
    if hello.protocol != PROTOCOL:
        raise AgentVersionMismatch(
            say(
                "the agent on the host (version {version}) speaks protocol {protocol}, we speak {ours}",
                version=masked(hello.version)[:40],
                protocol=hello.protocol,
                ours=PROTOCOL,
            )
        )
    return hello


def judge_version(hello: Hello, expected: Expected) -> None:
    """A guarantee that it is the expected agent, byte for byte. Raises :class:`AgentVersionMismatch`."""
    if hello.version != expected.version:
        raise AgentVersionMismatch(
            say(
                "the agent on the host is version {version}, expected {expected_version}",
                version=masked(hello.version)[:40],
                expected_version=expected.version,
            )
        )
    if expected.bundle and hello.bundle != expected.bundle:
        raise AgentVersionMismatch(
            say(
                "the agent's file is not the deployed one: SHA-256 {bundle}…, expected {expected_bundle}…",
                bundle=hello.bundle[:12] or say("not given"),
                expected_bundle=expected.bundle[:12],
            ),
            hint="if nobody deployed by hand, the host may be compromised; else run: drbackup agents deploy HOST",
        )


def judge_clock(hello: Hello, now_ns: int, limit: timedelta) -> int:
    """The agent's clock minus ours in nanoseconds. Raises :class:`ClockSkewed` beyond ``limit``."""
    skew_ns = hello.clock_ns - now_ns
    if abs(skew_ns) > limit.total_seconds() * 1e9:
        raise ClockSkewed(
            say(
                "the host's clock is {skew} ahead of ours (limit {limit})"
                if skew_ns > 0
                else "the host's clock is {skew} behind ours (limit {limit})",
                skew=timedelta(seconds=round(abs(skew_ns) / 1e9)),
                limit=limit,
            )
        )
    return skew_ns


def exit_words(status: int) -> Said:
    """The words for how a process ended, by its exit status. A negative one is the signal that killed it."""
    if status < 0:
        return say("killed by signal {signal}", signal=-status)
    return say("exit status {status}", status=status)


def why_it_ended(channel: Channel, died: AgentDied, *, spoke: bool) -> AgentDied | AgentMissing:
    """The error ``died`` with the exit status and the tail of the agent's stderr.

    :class:`AgentMissing` instead when the agent never started. ``spoke``: its Hello was read.
    """
    status = channel.exit_status(wait=2.0)
    tail = channel.stderr_tail()
    parts = [died.said]
    if status is not None:
        parts.append(exit_words(status))
    if tail:
        parts.append(say("its last words: {tail}", tail=tail))
    message = say_all(parts)
    if not spoke and status is not None and status > 0:
        return AgentMissing(say("the agent does not start: {why}", why=message), host=channel.host)
    return AgentDied(message, host=channel.host)
