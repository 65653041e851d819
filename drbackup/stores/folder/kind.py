"""A folder as a store, opened by its entry in the inventory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from drbackup.model.inventory import StoreEntry
from drbackup.model.stores.directory import DirectoryPlace
from drbackup.stores.folder.erase import DirectoryEraser
from drbackup.stores.folder.store import DirectoryStore
from drbackup.stores.kind import StoreKind
from drbackup.stores.trial import Trial


def _disk(entry: StoreEntry) -> Path:
    assert isinstance(entry.place, DirectoryPlace)
    return Path(entry.place.path)


def _open(name: str, entry: StoreEntry) -> DirectoryStore:
    disk = _disk(entry)
    return DirectoryStore(name, disk / entry.prefix, within=disk.parent)


def _open_eraser(name: str, entry: StoreEntry) -> DirectoryEraser:
    disk = _disk(entry)
    return DirectoryEraser(name, disk / entry.prefix, within=disk.parent)


def _trials(store: DirectoryStore, place: str, when: datetime) -> Iterator[Trial]:
    del store, place, when
    yield Trial("objects can't be deleted before a date", "lock", lambda: ("no", "a folder has no object lock"))
    yield Trial("agents upload by a signed URL", "signed", lambda: ("no", "a folder can't sign; bytes go by wire"))


DIRECTORY = StoreKind(
    name=DirectoryStore.kind,
    open=_open,
    open_eraser=_open_eraser,
    open_locker=lambda _name, _entry: None,
    trials=_trials,
)
