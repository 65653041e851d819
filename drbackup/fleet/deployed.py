"""Which agent file was deployed on which host, so that every later run can check that it is still that one.

There is one note for each host, ``<home>/agents/<name>.json``, durable before the command ends. After a crash between
the host's switch and the note, the note is old and the agent new. Then the next run refuses the agent and says to
deploy again, which is harmless.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from drbackup.errors import CatalogUnusable, say
from drbackup.fleet.greeting import Expected
from drbackup.system.durable import make_folder, write_file
from drbackup.wire.decode_errors import UNREADABLE


class Deployed(msgspec.Struct, frozen=True):
    """The agent that is in service on a host."""

    version: str
    sha256: str  # of its file, hex
    folder: str  # of all versions, on the host
    previous: str  # name of the folder that was in service before; empty: none
    says: str  # the agent's own version line


class _Remembered(msgspec.Struct, frozen=True):
    version: str
    bundle: str
    folder: str


def remember(home: Path, name: str, deployed: Deployed) -> None:
    """The note is durable: from now on exactly this file must answer for the agent."""
    folder = home / "agents"
    make_folder(folder)
    data = msgspec.json.encode(_Remembered(deployed.version, deployed.sha256, deployed.folder))
    write_file(folder / f"{name}.json", data + b"\n")


def expected(home: Path, name: str) -> Expected | None:
    """The agent file that must answer. None when nothing was deployed from here.

    Raises :class:`CatalogUnusable` when the note can't be read.
    """
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
