"""The controller's secrets on disk: one file of 64 hex digits each, mode 0600, or a systemd credential of that name.

Refuses to replace a key, because an overwritten key is lost and nobody can make it again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from drbackup.errors import VaultMissing, WrongKey, say
from drbackup.system.durable import create_file, create_folder

CATALOG_KEY, EVIDENCE_KEY, DOMAINS_KEY, DRILL_KEY = "catalog.key", "evidence.key", "domains.key", "drill.key"
ALL_KEYS = (CATALOG_KEY, EVIDENCE_KEY, DOMAINS_KEY, DRILL_KEY)
_SEED_SIZE = 32


def write_seeds(folder: Path, seeds: Mapping[str, bytes]) -> None:
    """A guarantee that a new ``folder`` holds all these key files, durably; after a crash, all of them or none.

    ``seeds``: file name → 32-byte seed. Raises FileExistsError or OSError when the folder exists and is not empty.
    """
    create_folder(folder, {name: _hex_line(seed) for name, seed in seeds.items()})


def add_seeds(folder: Path, seeds: Mapping[str, bytes]) -> None:
    """A guarantee that ``folder`` holds these key files too. A new folder appears with all of them or not at all.

    ``seeds``: file name → 32-byte seed. Raises FileExistsError for a key that is there already.
    """
    if not folder.exists():
        write_seeds(folder, seeds)
        return
    for name, seed in seeds.items():
        create_file(folder / name, _hex_line(seed))


def _hex_line(seed: bytes) -> bytes:
    return f"{seed.hex()}\n".encode("ascii")


def read_seed(folder: Path, name: str, environment: Mapping[str, str] = os.environ) -> bytes:
    """The 32-byte seed ``name``: from ``$CREDENTIALS_DIRECTORY`` when systemd put it there, else from ``folder``.

    Raises :class:`VaultMissing` when there is none, and :class:`WrongKey` when the file holds something else.
    """
    credentials = environment.get("CREDENTIALS_DIRECTORY", "")
    places = [Path(credentials) / name] if credentials else []
    path = next((place for place in places if place.is_file()), folder / name)
    try:
        text = path.read_text("ascii").strip()
    except FileNotFoundError:
        raise VaultMissing(say("there is no key {path}", path=path), where=str(path)) from None
    except (OSError, UnicodeDecodeError) as unreadable:
        raise WrongKey(
            say("the key {path} can't be read: {why}", path=path, why=unreadable), where=str(path)
        ) from unreadable
    try:
        seed = bytes.fromhex(text)
    except ValueError:
        seed = b""
    if len(seed) != _SEED_SIZE:  # never show what is in it
        raise WrongKey(say("{path} is not a key: 64 hex digits are expected", path=path), where=str(path))
    return seed
