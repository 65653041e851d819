"""Who this agent is: version, file, host, and its state folder, which holds only what may be lost."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from drbackup import __version__
from drbackup.wire.messages import PROTOCOL, Hello


def hello(clock: Callable[[], int] = time.time_ns) -> Hello:
    """This agent's first message. ``clock`` gives UTC nanoseconds.

    It is read last: otherwise the time this function takes would count as clock skew.
    """
    bundle = bundle_sha256()
    machine = f"{platform.system()} {platform.machine()} {'-'.join(platform.libc_ver())}"
    return Hello(
        protocol=PROTOCOL,
        version=__version__,
        hostname=socket.gethostname(),
        python=platform.python_version(),
        platform=machine,
        bundle=bundle,
        clock_ns=clock(),
    )


@functools.cache
def bundle_sha256() -> str:
    """Hex SHA-256 of the file this agent was started from; empty when it was not started from a bundle."""
    started = os.environ.get("DRBACKUP_AGENT_BUNDLE", "")
    if not started:
        return ""
    with open(started, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_folder(named: str = "") -> Path:
    """``named``, else $DRBACKUP_AGENT_STATE, else /var/lib/drbackup-agent for root, else the XDG state folder's."""
    chosen = named or os.environ.get("DRBACKUP_AGENT_STATE", "")
    if chosen:
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/var/lib/drbackup-agent")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "drbackup-agent"


def described() -> str:
    """The line that ``drbackup-agent version`` prints."""
    return f"drbackup-agent {__version__} protocol {PROTOCOL} python {platform.python_version()} ({sys.executable})"
