"""The eraser of a store in memory, with locks that a test sets. Held to the same contract as the real ones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from drbackup.stores.base import require_name
from drbackup.stores.erase import Erased
from tests.support.doubles.memory_store import MemoryStore


class MemoryEraser:
    """``locks``: name → until when it can't be erased, by ``now``; without a clock every lock holds."""

    def __init__(self, store: MemoryStore, now: Callable[[], datetime] | None = None) -> None:
        self.name = store.name
        self.store = store
        self.locks: dict[str, datetime] = {}
        self._now = now

    def erase(self, name: str) -> Erased:
        until = self.locks.get(require_name(name))
        if until is not None and (self._now is None or until > self._now()) and name in self.store.objects:
            return Erased(name, gone=False, locked_until=until)
        self.store.objects.pop(name, None)
        return Erased(name, gone=True)
