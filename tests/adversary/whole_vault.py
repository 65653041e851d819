"""A small vault with one of everything a store ever holds, in memory, and what must come back out of it.

Two systems on servers of their own (so two domains), three points, with folders, hard and symbolic links and a sparse
file; index deltas; two pieces of evidence, one of them a drill's; the installation's sealed keys. Everything is tiny,
so that thousands of damaged copies of it can be read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from drbackup.controller.drills.statement import encode
from drbackup.controller.rebuild.points import Origin
from drbackup.model.point import SourceFacts, Totals
from drbackup.stores.base import Store
from drbackup.vault.description import VaultDescription, create_vault
from drbackup.vault.evidence import ChainLink, make_evidence
from drbackup.vault.keys import CATALOG, DRILL, RECOVERY, Keyring, SealKey, SigningKey, domain_keys
from drbackup.vault.layout import digest_in_name
from drbackup.vault.read.reader import PointReader
from drbackup.vault.record import Commit, Sealed, make_record, read_record, unseal, write_record
from drbackup.vault.sealed_keys import InstallationKeys, make_sealed_keys
from drbackup.vault.store_access import StoreFetch
from drbackup.vault.tree import Entry, EntryKind, path_key
from drbackup.vault.write.writer import Content, PointWriter, Written
from tests.support.cities.small_vault import SmallVault
from tests.support.doubles.memory_store import MemoryStore
from tests.support.doubles.told_drill import statement

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
STORE = "offsite"
_OWN_CHUNK = 1000  # contents from this size on are shared between points
Tree = Mapping[bytes, bytes]  # path → content; "/" a folder, "@…" a link's target, "=…" a hard link's first name


@dataclass
class WholePoint:
    """A committed point and every entry that must come back, with its content."""

    name: str
    system: str
    source: str
    record_packs: tuple[bytes, ...]
    domain: str
    entries: dict[bytes, tuple[Entry, bytes]]

    @property
    def id(self) -> str:
        return digest_in_name(self.name)


@dataclass
class WholeVault:
    """``seed`` gives it keys of its own; ``day`` is when it was founded."""

    seed: int = 0
    day: datetime = NOON
    store: MemoryStore = field(default_factory=lambda: MemoryStore(STORE))
    points: list[WholePoint] = field(default_factory=list)
    _heads: dict[tuple[str, str], str] = field(default_factory=dict)
    _link: ChainLink = field(default_factory=ChainLink)

    def __post_init__(self) -> None:
        self.keys = {
            role: SealKey.from_seed(role, self.seed_of(number))
            for number, role in enumerate((RECOVERY, DRILL, CATALOG))
        }
        self.signer = SigningKey.from_seed(self.seed_of(10))
        self.recipients = tuple(key.recipient for key in self.keys.values())
        self.description = VaultDescription(f"city-{self.seed}", 1, self.recipients, self.signer.public)
        self._depots: dict[str, SmallVault] = {}

    def seed_of(self, number: int) -> bytes:
        return hashlib.sha256(b"%d/%d" % (self.seed, number)).digest()

    @classmethod
    def build(cls, seed: int = 0, day: datetime = NOON) -> WholeVault:
        vault = cls(seed, day)
        create_vault(vault.store, vault.description, vault.signer)
        installation = InstallationKeys(vault.seed_of(2), vault.seed_of(10), vault.seed_of(11))
        vault.store.put(*make_sealed_keys(installation, vault.description, day))
        text = b"register of enterprises, %d\n" % seed
        scans = {b"srv": b"/", b"srv/a": text * 9, b"srv/empty": b"", b"srv/link": b"@a", b"srv/same": b"=srv/a"}
        scans[b"srv/big"] = text * 50
        vault.commit("registry", "scans", "db1.bureau", scans)
        vault.commit("registry", "scans", "db1.bureau", {**scans, b"srv/b": text * 5, b"srv/sparse": b"headtail"})
        vault.commit("portal", "cases", "db2.office", {b"cases.db": bytes(range(256)) * 30})
        vault.keep_evidence("recovery", b'{"it": "is no drill"}\n')
        vault.keep_evidence("drill", encode(statement()))
        return vault

    # --- writing ---

    def commit(self, system: str, source: str, domain: str, tree: Tree) -> WholePoint:
        number = len(self.points)
        session = f"run-{number}"
        written, entries = self.write(domain, session, tree)
        when = int((self.day + timedelta(hours=number)).timestamp()) * 10**9
        totals = Totals(written.entries, written.files, written.rows, written.content_bytes)
        sealed = Sealed(written.root, SourceFacts(when, "files"), totals)
        before = self._heads.get((system, source), "")
        commit = Commit(system, source, domain, session, when, before, written.packs, sealed)
        identity, name = write_record(self.store, make_record(commit, self.recipients), self.signer)
        self._heads[system, source] = identity
        self.points.append(WholePoint(name, system, source, written.packs, domain, entries))
        return self.points[-1]

    def write(self, domain: str, session: str, tree: Tree) -> tuple[Written, dict[bytes, tuple[Entry, bytes]]]:
        """The packs of one point. The domain remembers its chunks between points."""
        destination = self._depots.setdefault(domain, SmallVault(self.store, domain)).destination
        keys = domain_keys(self.seed_of(11), domain, self.recipients)
        entries: dict[bytes, tuple[Entry, bytes]] = {}
        with PointWriter(destination, keys, session=session) as writer:
            for path, data in sorted(tree.items(), key=lambda each: path_key(each[0])):
                entry, content = _entry(writer, path, data)
                writer.add(entry, content)
                entries[path] = entry, b"" if content is None else data
            return writer.finish(), entries

    def keep_evidence(self, subject: str, statement: bytes) -> str:
        name, data = make_evidence(
            statement, subject=subject, when=self.day + timedelta(days=self._link.sequence + 1), after=self._link,
            recipients=self.recipients, signer=self.signer,
        )  # fmt: skip
        self._link = ChainLink(self._link.sequence + 1, bytes.fromhex(digest_in_name(name)))
        self.store.put(name, data)
        return name

    # --- reading ---

    def keyring(self, *roles: str) -> Keyring:
        return Keyring(self.keys[role] for role in roles)

    def origin(self, store: Store) -> Origin:
        return Origin({STORE: store}, self.signer.public, self.keyring(CATALOG))

    def reader(self, store: Store, point: WholePoint) -> PointReader:
        """As a restore does it: the record from the store, checked and opened, then the tree."""
        record = read_record(store, point.name, self.signer.public)
        root = unseal(record, self.keyring(CATALOG)).root
        return PointReader(StoreFetch(store), self.keyring(DRILL), record.domain, root)


def _entry(writer: PointWriter, path: bytes, data: bytes) -> tuple[Entry, Content | None]:
    if data == b"/":
        return Entry(path, EntryKind.DIR, 0o755), None
    if data[:1] == b"@":
        return Entry(path, EntryKind.SYMLINK, 0o777, target=data[1:]), None
    if data[:1] == b"=":
        return Entry(path, EntryKind.HARDLINK, target=data[1:]), None
    if data == b"headtail":
        hole = ((4, (1 << 16) - 8),)
        return Entry(path, EntryKind.FILE, 0o600, size=1 << 16, holes=hole), writer.stream([data])
    content = writer.small(data) if len(data) < _OWN_CHUNK else writer.stream([data])
    return Entry(path, EntryKind.FILE, 0o640, size=len(data)), content
