"""What this machine is, whether it is quiet, and what one command took on it.

Wall time is a monotonic clock's, CPU time and the largest process are the kernel's own accounting of the finished child
and of everything it waited for; all other figures are looked up (psutil) while the command runs, five times a second.
"""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_STARTER = Path(__file__).with_name("started.py")
_LOOK_EVERY = 0.2  # seconds
QUIET = 0.15  # of the machine


@dataclass(frozen=True, slots=True)
class Took:
    """One command. Seconds and bytes. ``largest``: peak of the largest process; ``helper``: of the largest process the
    command started (drbackup's agent); ``together``: of all its processes at one instant (shared pages count in each).
    ``other``: share of the machine that everything else used meanwhile."""

    code: int
    wall: float
    cpu: float
    largest: int
    helper: int
    together: int
    other: float


def busy() -> float:
    """CPU seconds all processors have spent working since the machine began."""
    spent = psutil.cpu_times()
    return spent.user + spent.nice + spent.system + spent.irq + spent.softirq + spent.steal


def cpu_of(pid: int) -> float:
    """CPU seconds of one process so far."""
    spent = psutil.Process(pid).cpu_times()
    return spent.user + spent.system


def settle(patience: float) -> float:
    """Flush what is unwritten, then wait until everything uses less than :data:`QUIET` of the machine for a second, at
    most ``patience`` seconds; the seconds waited, negative when it never became quiet. 0: not at all."""
    if not patience:
        return 0.0
    os.sync()
    begin = time.monotonic()
    while True:
        before, since = busy(), time.monotonic()
        time.sleep(1.0)
        now = time.monotonic()
        if (busy() - before) / (now - since) / (os.cpu_count() or 1) < QUIET:
            return now - begin
        if now - begin > patience:
            return begin - now


def run(command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path, limit: float = 900.0) -> Took:
    """Run ``command`` in ``folder``, its output to ``log``; a command that needs more than ``limit`` seconds is
    killed with its whole group."""
    answers, answer = os.pipe()
    with log.open("wb") as output:
        before = busy()
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_STARTER), str(answer), *command], env=dict(environment), cwd=folder,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, pass_fds=(answer,),
        )  # fmt: skip
        os.close(answer)
        watch = _Watch(child.pid, limit)
        watch.start()
        child.wait()
        watch.ended.set()
        watch.join()
        after = busy()
    with os.fdopen(answers) as told:
        words = told.read().split()
    if len(words) != 4:
        return Took(child.returncode or 1, limit, 0.0, 0, 0, 0, 0.0)
    code, wall, cpu, kilobytes = int(words[0]), float(words[1]), float(words[2]), int(words[3])
    other = max(0.0, after - before - cpu) / wall / (os.cpu_count() or 1)
    largest = max(kilobytes * 1024, watch.helper)
    return Took(code, wall, cpu, largest, watch.helper, max(watch.together, largest), other)


class _Watch(threading.Thread):
    """Looks at all below a process until told that it ended; kills them when it takes too long."""

    def __init__(self, pid: int, limit: float) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.together = 0
        self.helper = 0
        self._top = psutil.Process(pid)
        self._until = time.monotonic() + limit

    def run(self) -> None:
        while not self.ended.wait(_LOOK_EVERY):
            below = self._below()
            self.together = max(self.together, sum(map(_resident, below)))
            # The first one below the starter is the command itself.
            self.helper = max(0, self.helper, *(_peak(process.pid) for process in below[1:]))
            if time.monotonic() > self._until:
                for process in (*below, self._top):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
                return

    def _below(self) -> list[psutil.Process]:
        """Every process below the starter that still lives, a parent before its children."""
        with contextlib.suppress(psutil.Error):
            return self._top.children(recursive=True)
        return []


def _resident(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return process.memory_info().rss
    return 0


def _peak(pid: int) -> int:
    """The kernel's own mark of the most memory a process ever had. Read by hand: psutil does not show it."""
    lines = _lines(f"/proc/{pid}/status")
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def describe(folder: Path) -> dict[str, str]:
    """Machine, kernel and file system in words, for the page. The processor's name psutil does not show."""
    cpu = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    system = next((line.split("=")[1].strip('"') for line in _lines("/etc/os-release") if "PRETTY" in line), "")
    return {
        "processor": f"{cpu[0] if cpu else platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{system}, Linux {platform.release()}",
        "disk": _file_system(folder),
        "python": platform.python_version(),
    }


def _lines(path: str) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(path).read_text().splitlines()
    return []


def _file_system(folder: Path) -> str:
    """The kind of file system ``folder`` lies on."""
    mounts = psutil.disk_partitions(all=True)
    inside = [mount for mount in mounts if folder.resolve().is_relative_to(mount.mountpoint)]
    return max(inside, key=lambda mount: len(mount.mountpoint)).fstype if inside else "unknown"
