"""What this machine is, whether it is quiet, and what one command took on it.

Wall time is a monotonic clock's, CPU time and the largest process are the kernel's own accounting of the finished child
and of everything it waited for; all other figures are read from ``/proc`` while the command runs, five times a second.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
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
    numbers = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(numbers) - numbers[3] - numbers[4]) / _TICKS


def cpu_of(pid: int) -> float:
    """CPU seconds of one process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


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
        self._pid = pid
        self._until = time.monotonic() + limit

    def run(self) -> None:
        while not self.ended.wait(_LOOK_EVERY):
            below = _descendants(self._pid)
            self.together = max(self.together, sum(map(_resident, below)))
            # The first one below the starter is the command itself.
            self.helper = max(0, self.helper, *map(_peak, below[1:]))
            if time.monotonic() > self._until:
                for pid in (*below, self._pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                return


def _descendants(pid: int) -> list[int]:
    """Every process below ``pid`` that still lives, a parent before its children."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                found += [int(word) for word in Path(f"/proc/{pid}/task/{thread}/children").read_text().split()]
    return found + [deeper for child in found for deeper in _descendants(child)]


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _peak(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def describe(folder: Path) -> dict[str, str]:
    """Machine, kernel and file system in words, for the page."""
    cpu = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    system = next((line.split("=")[1].strip('"') for line in _lines("/etc/os-release") if "PRETTY" in line), "")
    return {
        "processor": f"{cpu[0] if cpu else platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{memory / 2**20:.0f} GiB",
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
    mounts = [line.split()[1:3] for line in _lines("/proc/mounts")]
    inside = [(point, kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(inside, key=lambda mount: len(mount[0]), default=("", "unknown"))[1]
