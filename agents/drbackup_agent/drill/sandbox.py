"""The place where a drill may put personal data: private folders and processes, and how they are wiped.

A :class:`Sandbox` is a new folder of mode 0700 that no other process uses. Every program started in it has the
sandbox's mark in its environment, so that :meth:`Sandbox.wipe` finds every process again.

Whatever ends the drill, the sandbox is wiped. What a kill -9 or a power cut left is wiped before the next drill begins
(:func:`open_sandbox`). It is known by its file lock, which the kernel frees when the process ends.

Wiping removes every file and proves it by looking again; it does not overwrite blocks. Where that matters, put the
sandbox on an encrypted filesystem or in memory.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import psutil

from drbackup.errors import HostUnsuitable, say
from drbackup.system.durable import write_file
from drbackup.system.file_lock import FileLock, try_file_lock, wait_for_file_lock

MARK = "DRBACKUP_SANDBOX"
_PREFIX = "drill-"
_LOCK = ".lock"
_PLACES = ".places"
_END_SECONDS = 15.0
_TROUBLES = 3  # named in one line
_DEAD = {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}  # they hold no file and no memory any more


class Wipe(msgspec.Struct, frozen=True):
    """What wiping did, and whether it was proven."""

    proven: bool  # looking again found no process and no file
    text: str  # counts and folders, never contents


class Sandbox:
    """One drill's private place. A context manager: the sandbox is wiped when its block ends, also by an exception."""

    def __init__(self, folder: Path, mark: str, lock: FileLock) -> None:
        self.folder = folder
        self.mark = mark
        self.stops: list[Callable[[], None]] = []  # stop servers cleanly; what still runs then is killed
        self._places = [folder]
        self._file_lock = lock
        self.result: Wipe | None = None
        os.environ[MARK] = mark  # every program this process starts from now on carries the mark

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.wipe()

    def folder_for(self, name: str) -> Path:
        """A new folder of mode 0700 inside the sandbox."""
        folder = self.folder / name
        folder.mkdir(mode=0o700)
        return folder

    def outside(self, parent: Path, owner: tuple[int, int] | None = None) -> Path:
        """A new folder of mode 0700 below ``parent``, wiped with the sandbox; ``owner`` is (uid, gid).

        It serves for a short socket path, or for another account. It is noted before it is made: after a crash between
        the two, the next drill still finds it.
        """
        place = parent / f"drb-{self.mark[:12]}-{len(self._places)}"
        self._places.append(place)
        _write_places(self.folder, self._places)
        place.mkdir(mode=0o700)
        if owner is not None:
            os.chown(place, *owner)
        return place

    def wipe(self) -> Wipe:
        """What wiping did: every process ended, every file removed, then a second look. Repeated, the first answer."""
        if self.result is None:
            for stop in reversed(self.stops):
                stop()
            self.result = _wipe(self.mark, self._places)
            os.environ.pop(MARK, None)
            self._file_lock.release()
        return self.result


def open_sandbox(parent: Path) -> Sandbox:
    """A new sandbox below ``parent``. What dead drills left there is wiped first.

    Raises :class:`HostUnsuitable` when the folder can't be made or a leftover can't be removed. No drill may begin
    while personal data of an earlier one is still there.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True, mode=0o711)
        with wait_for_file_lock(parent / _LOCK):
            wipe_leftovers(parent)
            mark = secrets.token_hex(16)
            folder = parent / f"{_PREFIX}{mark}"
            folder.mkdir(mode=0o700)
            lock = try_file_lock(folder / _LOCK)
            assert lock is not None, "nobody else knows the folder's name yet"
            _write_places(folder, [folder])
    except OSError as trouble:
        raise HostUnsuitable(
            say("no sandbox can be made in {parent}: {why}", parent=parent, why=trouble), where=str(parent)
        ) from trouble
    return Sandbox(folder, mark, lock)


def wipe_leftovers(parent: Path) -> list[Wipe]:
    """One wipe for each sandbox whose process is gone. Raises :class:`HostUnsuitable` if one can't be wiped."""
    wiped: list[Wipe] = []
    for folder in sorted(parent.glob(f"{_PREFIX}*")):
        try:
            lock = try_file_lock(folder / _LOCK)
        except FileNotFoundError:
            continue  # its drill has wiped it since the folder was read
        if lock is None:
            continue  # another drill is at work in it
        with lock:
            done = _wipe(folder.name.removeprefix(_PREFIX), _read_places(folder))
        if not done.proven:
            raise HostUnsuitable(
                say("an earlier drill's sandbox can't be wiped: {text}", text=done.text),
                where=str(folder),
                hint="remove the folder by hand; it may hold personal data",
            )
        wiped.append(done)
    return wiped


# --- processes -----------------------------------------------------------------------------------------------------


def marked_processes(mark: str, places: list[Path]) -> list[psutil.Process]:
    """The running processes that have the mark or whose working folder is in one of the places; never this one."""
    roots = tuple(str(place) + "/" for place in places)
    found: list[psutil.Process] = []
    for pid in psutil.pids():
        if pid == os.getpid():
            continue
        try:
            process = psutil.Process(pid)
            dead = process.status() in _DEAD
            if not dead and (_carries(pid, mark) or f"{process.cwd()}/".startswith(roots)):
                found.append(process)
        except (psutil.Error, OSError):  # gone meanwhile, or somebody else's: then it can't carry our private mark
            continue
    return found


def _carries(pid: int, mark: str) -> bool:
    """Whether a process has the mark in its environment. The file is read here, not by ``psutil.Process.environ``.

    That function stops at the first empty string. A program that writes its title over its environment, as PostgreSQL
    does, leaves such strings before the mark.
    """
    return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def _end_processes(mark: str, places: list[Path]) -> int:
    """The number of processes that still run at the deadline, after all were killed."""
    deadline = time.monotonic() + _END_SECONDS
    while alive := marked_processes(mark, places):
        if time.monotonic() > deadline:
            return len(alive)
        for process in alive:
            try:
                process.kill()  # never another process that was given the number meanwhile
            except psutil.NoSuchProcess:
                continue
            except psutil.AccessDenied:
                return len(alive)
        time.sleep(0.02)  # polling, with the deadline above
    return 0


# --- files -----------------------------------------------------------------------------------------------------------


def _wipe(mark: str, places: list[Path]) -> Wipe:
    alive = _end_processes(mark, places)
    files = size = 0
    troubles: list[str] = []
    # The sandbox's own folder goes last: it holds the list of the others, which a crash right here still needs.
    for place in reversed(places):
        counted = _count(place)
        files, size = files + counted[0], size + counted[1]
        _remove(place, troubles)
    left = [str(place) for place in places if os.path.lexists(place)]
    if alive or left:
        more = [f"and {len(troubles) - _TROUBLES} more"] if len(troubles) > _TROUBLES else []
        why = "; ".join([*(f"{path} is still there" for path in left), *troubles[:_TROUBLES], *more])
        return Wipe(False, f"{alive} process(es) left; {why}")
    return Wipe(True, f"{len(places)} folder(s) with {files} file(s), {size} bytes removed; no process left")


def _count(place: Path) -> tuple[int, int]:
    files = size = 0
    for folder, _, names in os.walk(place):
        for name in names:
            if name in {_LOCK, _PLACES} and folder == str(place):
                continue
            files += 1
            try:
                size += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue  # it is counted as a file; the search after the removal decides
    return files, size


def _remove(place: Path, troubles: list[str]) -> None:
    def again(function: Callable[..., Any], path: str, error: tuple[Any, BaseException, Any]) -> None:
        """Tries once more with mode 0700: a restored folder may forbid its own owner to change it."""
        if isinstance(error[1], FileNotFoundError):
            return
        try:
            for each in (os.path.dirname(path), path):
                if stat.S_ISDIR(os.lstat(each).st_mode) and Path(each).is_relative_to(place):
                    Path(each).chmod(0o700)
            if stat.S_ISDIR(os.lstat(path).st_mode):
                shutil.rmtree(path)
            else:
                function(path)
        except OSError as trouble:
            troubles.append(f"{type(trouble).__name__} {trouble.errno}")

    if place.is_symlink() or not place.exists():
        place.unlink(missing_ok=True)
        return
    shutil.rmtree(place, onerror=again)


def _write_places(folder: Path, places: list[Path]) -> None:
    write_file(folder / _PLACES, json.dumps([str(place) for place in places]).encode())


def _read_places(folder: Path) -> list[Path]:
    """The places that a dead drill noted. Only names that :meth:`Sandbox.outside` makes are accepted."""
    try:
        noted = [Path(place) for place in json.loads((folder / _PLACES).read_text())]
    except (OSError, ValueError):
        return [folder]
    expected = f"drb-{folder.name.removeprefix(_PREFIX)[:12]}-"
    return [folder, *(place for place in noted if place.name.startswith(expected))]
