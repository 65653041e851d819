"""Packs written to a store and read from it directly, without an agent in between.

For the controller's own reading, tools and tests. Raises the store's errors as they are.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from drbackup.stores.base import Store
from drbackup.vault.layout import pack_name
from drbackup.wire.messages import Place


class StoreDestination:
    """A :class:`~drbackup.vault.write.pack_sink.PackDestination` over one store.

    The chunks that it stored are remembered in memory only. Thread-safe.
    """

    def __init__(self, store: Store, domain: str) -> None:
        self._store = store
        self._domain = domain
        self._mutex = threading.Lock()
        self.places: dict[bytes, Place] = {}

    def locate(self, ids: Sequence[bytes]) -> dict[bytes, Place]:
        with self._mutex:
            return {each: self.places[each] for each in ids if each in self.places}

    def put(self, kind: str, pack: bytes, data: bytes | memoryview, places: Sequence[Place]) -> None:
        self._store.put(pack_name(self._domain, kind, pack), data)
        with self._mutex:
            self.places.update((place.id, place) for place in places)


class StoreFetch:
    """A :class:`~drbackup.vault.read.read_ahead.PackFetch` from a store."""

    stretch = 4 << 20  # bytes

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sizes: dict[str, int] = {}

    def fetch(self, kind: str, domain: str, pack: bytes, offset: int, length: int) -> bytes:
        name = pack_name(domain, kind, pack)
        if name not in self._sizes:
            stat = self._store.stat(name)
            self._sizes[name] = stat.size if stat else -1
        size = self._sizes[name]
        if size < 0:  # the store raises its own error for a missing object
            return self._store.get(name)
        return self._store.get(name, offset, max(min(length, size - offset), 0)) if offset < size else b""
