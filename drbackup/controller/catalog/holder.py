"""The name of a lease's holder: by it, another process on the same machine sees at once whether the holder is gone.

The name is ``host:boot:pid-namespace:pid:start``. Only a process of the same boot and the same process-number namespace
can judge it. For any other process the lease's end decides.
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
    """The name of this process as a holder."""
    pid = os.getpid()
    return f"{_machine()}:{pid}:{_start(pid)}"


def is_gone(holder: str) -> bool:
    """Whether the holder has certainly ended: it ran on this machine, and no process has its number and start."""
    place, _, start = holder.rpartition(":")
    machine, _, pid = place.rpartition(":")
    if machine != _machine() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # another account's process: it runs, and /proc may be hidden from us, so its start can't be read
    return _start(int(pid)) != start


def is_here(holder: str) -> bool:
    """Whether the holder is certainly there, on this machine: running, or stopped by a signal."""
    place, _, start = holder.rpartition(":")
    machine, _, pid = place.rpartition(":")
    return bool(start) and machine == _machine() and pid.isdigit() and _start(int(pid)) == start


def _start(pid: int) -> str:
    """The clock ticks from the boot to the process's start, empty when it is gone. Setting the clock changes nothing.

    Read from /proc and not by psutil. ``psutil.Process.create_time`` is a time of the clock and changes when that is
    set, so a holder that runs would look like another process. Importing psutil also takes longer than all of this.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return ""
    state, *rest = stat.rpartition(")")[2].split()  # the program's name before it may hold anything
    return "" if state == "Z" else rest[18]
