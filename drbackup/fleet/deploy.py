"""Puts an agent bundle into service on a host, and remembers which one, so that every later run can check it.

Needs an administrator's login on the host: the controller's everyday key may run the agent and nothing else, so it
can't replace the agent either (docs/adr/0004).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from drbackup.errors import AgentMissing, CatalogUnusable
from drbackup.fleet.bundle import Bundle
from drbackup.fleet.greeting import Expected
from drbackup.fleet.masking import masked
from drbackup.fleet.preflight import look, require_suitable
from drbackup.fleet.remote import Shell

_INSTALL_SECONDS = 600.0
_ANSWER = "drbackup-installer "
SUDO = ("sudo", "-n")


@dataclass(frozen=True, slots=True)
class Deployed:
    """What is in service on a host. ``previous``: the folder name that was before, empty if none."""

    version: str
    sha256: str
    folder: str
    previous: str
    says: str


class _Remembered(msgspec.Struct, frozen=True):
    version: str
    bundle: str
    folder: str


def deploy(shell: Shell, bundle: Bundle, folder: str, *, sudo: bool = False) -> Deployed:
    """Install ``bundle`` below ``folder`` on the shell's host and switch to it.

    Raises :class:`HostUnsuitable` before anything is changed, :class:`AgentMissing` when the new version does not run
    there (the one before is in service again).
    """
    before: Sequence[str] = SUDO if sudo else ()
    require_suitable(look(shell, bundle, folder, before), bundle, folder, shell.host)
    source = Path(__file__).with_name("installer.py").read_text()
    data = bundle.path.read_bytes()
    arguments = (folder, bundle.folder_name, bundle.sha256, str(len(data)))
    command = [*before, f"python{bundle.python}", "-I", "-c", source, *arguments]
    ran = shell.run(command, data, timeout=_INSTALL_SECONDS)
    answer = _answer(ran.stdout)
    if not answer.get("done"):
        why = masked(str(answer.get("refused") or ran.stderr.strip() or f"exit status {ran.status}"))
        raise AgentMissing(
            f"the new agent was not put into service: {why}",
            host=shell.host,
            safe="the version that was in service before still is",
            hint="mend what the message names on the host, then deploy again",
        )
    return Deployed(
        bundle.version, bundle.sha256, folder, str(answer.get("previous", "")), masked(str(answer.get("version", "")))
    )


def _answer(stdout: str) -> dict[str, Any]:
    """The installer's one line; a login script may have printed around it."""
    lines = [line for line in stdout.splitlines() if line.startswith(_ANSWER)]
    if not lines:
        return {}
    found = json.loads(lines[-1].removeprefix(_ANSWER))
    return found if isinstance(found, dict) else {}


# --- which agent was deployed where


def remember(home: Path, name: str, deployed: Deployed) -> None:
    """From now on this agent must answer with exactly this file."""
    folder = home / "agents"
    folder.mkdir(mode=0o700, exist_ok=True)
    data = msgspec.json.encode(_Remembered(deployed.version, deployed.sha256, deployed.folder))
    part = folder / f".{name}.part"
    with open(part, "wb") as file:
        file.write(data + b"\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / f"{name}.json")


def expected(home: Path, name: str) -> Expected | None:
    """What :func:`~drbackup.fleet.session.run_session` should expect; None when nothing was deployed from here."""
    file = home / "agents" / f"{name}.json"
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=_Remembered)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as unreadable:
        raise CatalogUnusable(
            f"the note of what was deployed on {name} can't be read: {unreadable}",
            where=str(file),
            hint=f"deploy again: drbackup agents deploy {name}",
        ) from unreadable
    return Expected(kept.version, kept.bundle)
