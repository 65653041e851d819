"""A shelf as a store: one file an object, all in one folder, its whole name percent-encoded."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, unquote

from drbackup.errors import ObjectExists, ObjectMissing
from drbackup.model.inventory import StoreEntry
from drbackup.stores.base import Stat, past_the_end, require_match, require_name
from drbackup.stores.erase import Erased
from drbackup.stores.kind import StoreKind
from drbackup.stores.trial import Trial
from tests.support.doubles.dummy_kinds.shelf_place import ShelfPlace


class ShelfStore:
    """A store whose folder is there. No power cut is thought of."""

    kind: ClassVar[str] = "shelf"

    def __init__(self, name: str, board: Path) -> None:
        self.name = name
        self.board = board

    def _box(self, name: str) -> Path:
        return self.board / quote(require_name(name), safe="")

    def put(self, name: str, data: bytes | memoryview) -> None:
        require_match(name, data)
        self.board.mkdir(exist_ok=True)
        new = self.board / f".{secrets.token_hex(8)}"
        new.write_bytes(data)
        try:
            os.link(new, self._box(name))
        except FileExistsError:
            if self._box(name).read_bytes() != bytes(data):
                raise ObjectExists(f"{name} is taken") from None
        finally:
            new.unlink()

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        try:
            data = self._box(name).read_bytes()
        except FileNotFoundError:
            raise ObjectMissing(f"no {name} on the shelf") from None
        end = len(data) if length is None else offset + length
        if offset > len(data) or end > len(data):
            raise past_the_end(name, len(data), offset, length)
        if offset == 0 and length is None:
            require_match(name, data)
        return data[offset:end]

    def check(self, name: str) -> int:
        return len(self.get(name))

    def repair(self, name: str, data: bytes | memoryview) -> None:
        require_match(name, data)
        self._box(name).unlink(missing_ok=True)
        self.put(name, data)

    def stat(self, name: str) -> Stat | None:
        box = self._box(name)
        return Stat(name, box.stat().st_size) if box.exists() else None

    def list(self, prefix: str) -> Iterator[Stat]:
        for box in self.board.glob("[!.]*"):
            if unquote(box.name).startswith(prefix):
                yield Stat(unquote(box.name), box.stat().st_size)

    def sign_put(self, name: str, size: int, sha256: bytes) -> None: ...

    def sign_get(self, name: str) -> None: ...


class ShelfEraser(ShelfStore):
    """Takes boxes down."""

    def erase(self, name: str) -> Erased:
        self._box(name).unlink(missing_ok=True)
        return Erased(name, gone=True)


def _board(entry: StoreEntry) -> Path:
    assert isinstance(entry.place, ShelfPlace)
    return Path(entry.place.board)


def _trials(store: ShelfStore, place: str, when: datetime) -> Iterator[Trial]:
    yield Trial("boxes stand straight", "useful", lambda: ("yes", f"on {store.board}"))


SHELF = StoreKind(
    name="shelf",
    open=lambda name, entry: ShelfStore(name, _board(entry)),
    open_eraser=lambda name, entry: ShelfEraser(name, _board(entry)),
    open_locker=lambda _name, _entry: None,
    trials=_trials,
)
