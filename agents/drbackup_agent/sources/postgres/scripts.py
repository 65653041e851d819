"""Running restored SQL scripts so that they can't run any program on this host.

A script comes from a server that may be compromised, and psql has commands that start programs. So every script runs in
psql's restricted mode, entered by us with a random word (CVE-2025-8714). The lines by which the dump itself enters and
leaves that mode are removed. What SQL can do to its database server can't be prevented here; drills use a server of
their own.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping

from drbackup_agent.sources.pipeline import feed
from drbackup_agent.sources.postgres.tools import DatabaseAddress, PostgresTools

_EDGE = 64 << 10  # bytes; the dump's own lines are in the first and the last few hundred
_ENTER = re.compile(rb"^\\restrict \w+\n", re.MULTILINE)
_LEAVE = re.compile(rb"^\\unrestrict \w+\n", re.MULTILINE)


def run_script(
    tools: PostgresTools,
    connection: DatabaseAddress,
    blocks: Iterable[bytes],
    *,
    label: str,
    stall_seconds: float = 0,
    variables: Mapping[str, str] | None = None,
) -> None:
    """The whole script has run in psql without an error. Raises :class:`~drbackup.errors.ToolFailed` at the first one.

    ``variables`` are psql's. A psql that moves no bytes for ``stall_seconds`` is killed; 0: no limit.
    """
    argv = [tools.path("psql"), "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1"]
    for name, value in (variables or {}).items():
        argv += ["-v", f"{name}={value}"]
    feed(
        [*argv, "-f", "-"],
        _restricted(blocks) if tools.restricts else without_restrict(blocks),
        label=label,
        environment=connection.environment(),
        stall_seconds=stall_seconds,
    )


def _restricted(blocks: Iterable[bytes]) -> Iterator[bytes]:
    yield f"\\restrict {secrets.token_hex(16)}\n".encode()
    yield from without_restrict(blocks)


def without_restrict(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The script without pg_dump's own ``\\restrict`` line at its beginning and ``\\unrestrict`` line at its end."""
    held = b""
    begun = False
    for block in blocks:
        held += block
        if not begun:
            if len(held) < _EDGE:
                continue
            held, begun = _ENTER.sub(b"", held, count=1), True
        if len(held) > 2 * _EDGE:
            yield held[:-_EDGE]
            held = held[-_EDGE:]
    if not begun:
        held = _ENTER.sub(b"", held, count=1)
    leaving = list(_LEAVE.finditer(held))
    yield held[: leaving[-1].start()] + held[leaving[-1].end() :] if leaving else held
