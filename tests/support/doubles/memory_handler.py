"""A handler that keeps packs in memory: what a session's agent sees of the backup centre."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Literal

from drbackup.errors import ObjectMissing
from drbackup.stores.base import SignedPut
from drbackup.wire.framing import Body
from drbackup.wire.messages import Note, Place, Progress

SMALL_AGENT = Path(__file__).with_name("small_agent.py")


def small_agent(mode: str) -> list[str]:
    """The command that starts :mod:`tests.support.doubles.small_agent` in ``mode``."""
    return [sys.executable, str(SMALL_AGENT), mode]


class MemoryHandler:
    """Everything through the wire; counts what it was asked."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.packs: dict[bytes, bytes] = {}
        self.pins: list[tuple[int, str]] = []
        self.notes: list[str] = []
        self.news: list[Progress] = []
        self.pack_came = threading.Event()
        self.noted = threading.Event()
        self.at_once = 0
        self.most_at_once = 0

    def locate(self, ids: bytes) -> tuple[Place, ...]:
        return ()

    def upload(self, kind: str, pack: bytes, size: int) -> SignedPut | Literal["stored"] | None:
        return "stored" if pack in self.packs else None

    def uploaded(self, kind: str, pack: bytes, size: int, places: tuple[Place, ...], body: Body | None) -> None:
        assert body is not None
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        with self.lock:
            self.packs[pack] = bytes(body)  # the memory will be used again
            self.at_once -= 1
        self.pack_came.set()

    def fetch(self, kind: str, domain: str, pack: bytes, offset: int, length: int) -> bytes | str:
        if pack not in self.packs:
            raise ObjectMissing(f"no pack {pack.hex()}")
        return self.packs[pack][offset : offset + length]

    def pinned(self, pinned_ns: int, position: str) -> None:
        self.pins.append((pinned_ns, position))

    def progress(self, news: Progress) -> None:
        self.news.append(news)

    def note(self, note: Note) -> None:
        self.notes.append(note.text)
        self.noted.set()
