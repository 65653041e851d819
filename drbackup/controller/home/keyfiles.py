"""The controller's secrets on disk: one file of 64 hex digits each, mode 0600, or a systemd credential of that name.

Refuses to replace a key: a lost key can't be had again, and an overwritten one is a lost one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from drbackup.errors import VaultMissing, WrongKey

CATALOG_KEY, EVIDENCE_KEY, DOMAINS_KEY, DRILL_KEY = "catalog.key", "evidence.key", "domains.key", "drill.key"
ALL_KEYS = (CATALOG_KEY, EVIDENCE_KEY, DOMAINS_KEY, DRILL_KEY)
_SEED_SIZE = 32


def write_seeds(folder: Path, seeds: Mapping[str, bytes]) -> None:
    """Write new key files into a new ``folder``, durably, so that all of them appear at once or none does.

    Raises FileExistsError or OSError (the folder exists and is not empty).
    """
    parent = folder.parent
    fresh = parent / f".{folder.name}.new"
    fresh.mkdir(mode=0o700, exist_ok=True)  # a crashed new_installation left one: its keys guard nothing yet
    for name, seed in seeds.items():
        _write_seed(fresh / name, seed)
    sync_folder(fresh)
    fresh.rename(folder)  # fails on a folder with keys in it: nothing is ever overwritten
    sync_folder(parent)


def add_seeds(folder: Path, seeds: Mapping[str, bytes]) -> None:
    """Write key files that ``folder`` lacks; a new folder appears with all of them or not at all.

    Raises FileExistsError for a key that is there already.
    """
    if not folder.exists():
        write_seeds(folder, seeds)
        return
    for name, seed in seeds.items():
        fresh = folder / f".{name}.new"
        _write_seed(fresh, seed)
        os.link(fresh, folder / name)  # fails where a key is: nothing is ever overwritten
        fresh.unlink()
    sync_folder(folder)


def _write_seed(path: Path, seed: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(file, "w", encoding="ascii") as stream:
        stream.write(seed.hex() + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def read_seed(folder: Path, name: str, environment: Mapping[str, str] = os.environ) -> bytes:
    """The 32-byte seed ``name``: from ``$CREDENTIALS_DIRECTORY`` when systemd handed it over, else from ``folder``.

    Raises :class:`VaultMissing` when there is none, :class:`WrongKey` when the file holds something else.
    """
    credentials = environment.get("CREDENTIALS_DIRECTORY", "")
    places = [Path(credentials) / name] if credentials else []
    path = next((place for place in places if place.is_file()), folder / name)
    try:
        text = path.read_text("ascii").strip()
    except FileNotFoundError:
        raise VaultMissing(f"there is no key {path}", where=str(path)) from None
    except (OSError, UnicodeDecodeError) as unreadable:
        raise WrongKey(f"the key {path} can't be read: {unreadable}", where=str(path)) from unreadable
    try:
        seed = bytes.fromhex(text)
    except ValueError:
        seed = b""
    if len(seed) != _SEED_SIZE:  # never show what is in it
        raise WrongKey(f"{path} is not a key: 64 hex digits are expected", where=str(path))
    return seed


def sync_folder(folder: Path) -> None:
    """Make the names inside ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
