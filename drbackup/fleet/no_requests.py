"""The handler of a session that moves no backups: a preflight may ask for nothing."""

from __future__ import annotations

from typing import Literal, NoReturn

from drbackup.errors import StoreRefused
from drbackup.stores.base import SignedPut
from drbackup.wire.framing import Body
from drbackup.wire.messages import Note, Place, Progress


class NoRequests:
    """A handler that refuses every question and ignores all news."""

    def locate(self, ids: bytes) -> tuple[Place, ...]:
        _refuse()

    def upload(self, kind: str, pack: bytes, size: int) -> SignedPut | Literal["stored"] | None:
        _refuse()

    def uploaded(self, kind: str, pack: bytes, size: int, places: tuple[Place, ...], body: Body | None) -> None:
        _refuse()

    def fetch(self, kind: str, domain: str, pack: bytes, offset: int, length: int) -> bytes | str:
        _refuse()

    def pinned(self, pinned_ns: int, position: str) -> None:
        _refuse()

    def progress(self, news: Progress) -> None:
        """Nothing: nobody listens."""

    def note(self, note: Note) -> None:
        """Nothing: the preflight's result says it all."""


def _refuse() -> NoReturn:
    raise StoreRefused("a preflight stores and reads nothing")
