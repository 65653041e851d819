"""Which agent file was put into service where, so that every later run can check that it is still that one.

A note a host, ``<home>/agents/<name>.json``, durable before the command ends. A crash between the host's switch and the
note leaves an old note and a new agent: the next run refuses it and says to deploy again, which is harmless.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from drbackup.errors import CatalogUnusable, say
from drbackup.fleet.greeting import Expected
from drbackup.system.durable import make_folder, write_file
from drbackup.wire.decode_errors import UNREADABLE


class Deployed(msgspec.Struct, frozen=True):
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


def remember(home: Path, name: str, deployed: Deployed) -> None:
    """From now on this agent must answer with exactly this file."""
    folder = home / "agents"
    make_folder(folder)
    data = msgspec.json.encode(_Remembered(deployed.version, deployed.sha256, deployed.folder))
    write_file(folder / f"{name}.json", data + b"\n")


def expected(home: Path, name: str) -> Expected | None:
    """What :func:`~drbackup.fleet.session.run_session` should expect; None when nothing was deployed from here."""
    file = home / "agents" / f"{name}.json"
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=_Remembered)
    except FileNotFoundError:
        return None
    except (OSError, *UNREADABLE) as unreadable:
        raise CatalogUnusable(
            say("the note of what was deployed on {name} can't be read: {why}", name=name, why=unreadable),
            where=str(file),
            hint=say("deploy again: drbackup agents deploy {name}", name=name),
        ) from unreadable
    return Expected(kept.version, kept.bundle)
