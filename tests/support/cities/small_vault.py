"""A vault in memory with all its keys, for tests that write and read points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from drbackup.stores.base import Store
from drbackup.vault.keys import ROLES, Keyring, SealKey, SigningKey, domain_keys
from drbackup.vault.read.reader import ALONE, PointReader
from drbackup.vault.store_access import StoreDestination, StoreFetch
from drbackup.vault.tree import Entry, EntryKind, path_key
from drbackup.vault.write.writer import PointWriter, Written
from drbackup.wire.specs import DomainKeys
from tests.support.doubles.memory_store import MemoryStore

SMALL = 64 << 10  # tests call contents below this small


def seal_keys() -> dict[str, SealKey]:
    """Fixed keys: tests need no randomness of their own."""
    return {role: SealKey.from_seed(role, bytes([number + 1]) * 32) for number, role in enumerate(ROLES)}


@dataclass
class SmallVault:
    store: Store = field(default_factory=MemoryStore)
    domain: str = "db1.test"
    keys: dict[str, SealKey] = field(default_factory=seal_keys)
    signer: SigningKey = field(default_factory=lambda: SigningKey.from_seed(b"\x09" * 32))

    def __post_init__(self) -> None:
        self.destination = StoreDestination(self.store, self.domain)

    @property
    def domain_keys(self) -> DomainKeys:
        return domain_keys(b"\x07" * 32, self.domain, [key.recipient for key in self.keys.values()])

    def writer(self) -> PointWriter:
        return PointWriter(self.destination, self.domain_keys, session="test")

    def write(self, contents: Mapping[bytes, bytes]) -> Written:
        with self.writer() as writer:
            for path in sorted(contents, key=path_key):
                data = contents[path]
                content = writer.small(data) if len(data) < SMALL else writer.stream([data])
                writer.add(Entry(path, EntryKind.FILE, size=len(data)), content)
            return writer.finish()

    def reader(self, root: bytes, roles: Iterable[str] = ("drill",), alone: int = ALONE) -> PointReader:
        ring = Keyring(self.keys[role] for role in roles)
        return PointReader(StoreFetch(self.store), ring, self.domain, root, alone=alone)

    def read(self, root: bytes) -> dict[bytes, bytes]:
        reader = self.reader(root)
        return {entry.path: b"".join(reader.content(entry)) for entry in reader.entries()}
