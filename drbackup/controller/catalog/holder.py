"""Who holds a lease: a name that lets another process on the same machine see at once that the holder is gone.

``host:boot:pid-namespace:pid:start``. Only a process of the same boot and the same process-number namespace can judge;
for anybody else the lease's end decides.
"""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path


@functools.cache
def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    return f"{socket.gethostname()}:{boot}:{namespace}"


def this_process() -> str:
    """This process's name as a holder."""
    pid = os.getpid()
    return f"{_machine()}:{pid}:{_start(pid)}"


def is_gone(holder: str) -> bool:
    """True only when the holder surely no longer runs: same machine, and no process of that number and start."""
    place, _, start = holder.rpartition(":")
    machine, _, pid = place.rpartition(":")
    if machine != _machine() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # another account's process: it lives, and /proc may be hidden from us, so its start can't be read
    return _start(int(pid)) != start


def is_here(holder: str) -> bool:
    """True only when the holder surely runs, or stands still, on this machine."""
    place, _, start = holder.rpartition(":")
    machine, _, pid = place.rpartition(":")
    return bool(start) and machine == _machine() and pid.isdigit() and _start(int(pid)) == start


def _start(pid: int) -> str:
    """Clock ticks between boot and the process's start: a clock that is set later does not change them. Empty: gone.

    Read by hand: ``psutil.Process.create_time`` is a time of the clock and moves when that is set, so a living holder
    would look like another process; and importing psutil costs a short command more than all of this.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return ""
    state, *rest = stat.rpartition(")")[2].split()  # the program's name before it may hold anything
    return "" if state == "Z" else rest[18]
