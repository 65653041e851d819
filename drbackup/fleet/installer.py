"""The installer that runs on the host as the administrator: it puts the agent's file from stdin into service.

Its text is sent to the host's own Python (``python -I -c``), so it uses only the standard library. A running agent's
file is never changed. Each version has a folder of its own, and ``current`` is a symlink that one rename switches.
After a crash at any point, either the old version or the new one is in service, whole. An unfinished folder may stay,
which the next deploy of that version uses.

Order: write, compare, fsync, try the new file, fsync its unpacked code, switch, try the file again as ssh will start
it, report. When the last try fails, the version before is switched back.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

AGENT_FILE = "drbackup-agent"
_PIECE = 1 << 20
_VERSION_SECONDS = 120


class Refusal(Exception):
    """Why the new version was not put into service."""


def install(folder: Path, name: str, sha256: str, size: int) -> dict[str, str]:
    """The new version's own version line and the folder name before: the file on stdin is now in service.

    It has ``size`` bytes and lies in ``folder/name``. ``sha256``: hex. Raises :class:`Refusal` or OSError.
    """
    os.umask(0o022)  # the agent's account, not only the administrator, must be able to read it
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".deploy.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refusal("another deploy is under way on this host") from None
        current = folder / "current"
        previous = str(current.readlink()) if current.is_symlink() else ""
        version = folder / name
        existed = version.is_dir()
        try:
            receive(version, sha256, size)
            said = try_out(version / AGENT_FILE)
        except Refusal:
            if not existed:
                shutil.rmtree(version, ignore_errors=True)
            raise
        sync_tree(version)
        switch(current, name)
        try:
            try_out(current / AGENT_FILE)
        except Refusal:
            roll_back(current, previous)
            raise
    return {"version": said, "previous": previous}


def receive(version: Path, sha256: str, size: int) -> None:
    """A guarantee that this version's file is complete and durable. Raises :class:`Refusal`; then there is no file."""
    version.mkdir(mode=0o755, exist_ok=True)
    part = version / (AGENT_FILE + ".part")
    digest = hashlib.sha256()
    missing = size
    with open(part, "wb") as file:
        while missing:
            data = sys.stdin.buffer.read(min(_PIECE, missing))
            if not data:
                break
            digest.update(data)
            file.write(data)
            missing -= len(data)
        file.flush()
        os.fsync(file.fileno())
    if missing or digest.hexdigest() != sha256:
        part.unlink()
        raise Refusal(f"the file arrived damaged ({size - missing} of {size} bytes, SHA-256 {digest.hexdigest()[:12]})")
    part.chmod(0o755)
    part.replace(version / AGENT_FILE)
    sync_folder(version)


def try_out(agent: Path) -> str:
    """The agent's own version line. Raises :class:`Refusal` when it does not run."""
    try:
        ran = subprocess.run(
            [str(agent), "version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise Refusal(f"{agent} version does not run: {failure}") from failure
    if ran.returncode != 0:
        last = (ran.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise Refusal(f"{agent} version failed with exit status {ran.returncode}: {last}")
    return ran.stdout.strip()


def switch(current: Path, name: str) -> None:
    """A guarantee that ``current`` points to ``name``, durably. It is switched in one step."""
    fresh = current.with_name(".current.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(name)
    fresh.replace(current)
    sync_folder(current.parent)


def roll_back(current: Path, previous: str) -> None:
    """The version before is in service again; without one, none is."""
    if previous:
        switch(current, previous)
    else:
        current.unlink()
        sync_folder(current.parent)


def sync_tree(folder: Path) -> None:
    """A guarantee that the unpacked code is durable, too.

    Each file has its own fsync, because a sync of everything would wait for the host's own databases.
    """
    for parent, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(parent, name), "rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(parent))


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def main(arguments: list[str]) -> int:
    """The exit status. ``arguments``: ``FOLDER NAME SHA256 SIZE``, with the file on stdin.

    One JSON line is printed: ``done`` or ``refused``.
    """
    folder, name, sha256, size = arguments
    try:
        answer = {"done": True, **install(Path(folder), name, sha256, int(size))}
    except (Refusal, OSError) as failure:
        answer = {"done": False, "refused": str(failure)}
    sys.stdout.write("drbackup-installer " + json.dumps(answer) + "\n")
    return 0 if answer["done"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
