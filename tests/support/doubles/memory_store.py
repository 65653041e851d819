"""A store in memory, for tests that make thousands of small vaults. Held to the same contract as the real ones."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator

from drbackup.errors import ObjectCorrupt, ObjectExists, ObjectMissing
from drbackup.stores.base import SignedPut, Stat, digest_in_name, require_match, require_name, require_prefix


class MemoryStore:
    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.objects: dict[str, bytes] = {}
        self._mutex = threading.Lock()

    def put(self, name: str, data: bytes | memoryview) -> None:
        fresh = bytes(data)
        with self._mutex:
            if self.objects.setdefault(require_name(name), fresh) != fresh:
                raise ObjectExists(f"{name} holds other bytes", where=name)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        with self._mutex:
            if name not in self.objects:
                raise ObjectMissing(f"{name} is not in store {self.name}", where=name)
            data = self.objects[name]
        end = len(data) if length is None else offset + length
        if offset > len(data) or end > len(data):
            raise ObjectCorrupt(f"{name} has {len(data)} bytes, asked for up to {end}", where=name)
        promised = digest_in_name(name)
        if promised and (offset, length) == (0, None) and hashlib.sha256(data).digest() != promised:
            raise ObjectCorrupt(f"{name}: its bytes do not match its name", where=name)
        return data[offset:end]

    def check(self, name: str) -> int:
        return len(self.get(name))

    def repair(self, name: str, data: bytes | memoryview) -> None:
        require_match(name, data)
        with self._mutex:
            self.objects[require_name(name)] = bytes(data)

    def stat(self, name: str) -> Stat | None:
        with self._mutex:
            return Stat(name, len(self.objects[name])) if name in self.objects else None

    def list(self, prefix: str) -> Iterator[Stat]:
        require_prefix(prefix)
        with self._mutex:
            found = [Stat(name, len(data)) for name, data in self.objects.items() if name.startswith(prefix)]
        return iter(found)

    def sign_put(self, name: str, size: int, sha256: bytes) -> SignedPut | None:
        return None

    def sign_get(self, name: str) -> str | None:
        return None
