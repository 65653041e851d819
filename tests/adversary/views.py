"""What every reader of a vault sees of a store that somebody has been at.

Each view does what a command does and says which objects it complained of; it fails the test when wrong data comes out,
when another exception than ours does, or when it complains without a name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from drbackup.controller.catalog import Catalog
from drbackup.controller.evidence import verify_stores
from drbackup.controller.home.installation import Installation
from drbackup.controller.rebuild.rebuild import Rebuilding, RebuildReport
from drbackup.errors import DrbackupError
from drbackup.stores.base import Store
from drbackup.vault.description import read_vault
from drbackup.vault.keys import RECOVERY
from drbackup.vault.layout import VAULT_NAME, digest_in_name, pack_name
from drbackup.vault.sealed_keys import list_sealed_keys, open_sealed_keys
from drbackup.vault.tree import EntryKind
from tests.adversary.whole_vault import NOON, STORE, WholePoint, WholeVault
from tests.support.doubles.memory_store import MemoryStore

NOWHERE = Path("/nonexistent/evidence")


@dataclass(frozen=True)
class Damaged:
    """A store somebody has been at. ``victims``: the names whose bytes are other ones now, or gone, or foreign."""

    what: str
    store: MemoryStore
    victims: frozenset[str]

    def named(self, text: str) -> bool:
        """Whether one of the victims is named, by its name or its hash."""
        return any(name in text or (digest_in_name(name) or name) in text for name in self.victims)

    def complain(self, error: DrbackupError) -> None:
        text = f"{error.message} {error.where}"
        assert self.named(text), f"{self.what}: complains of {text!r}, not of {sorted(self.victims)}"


def needs(point: WholePoint, damaged: Damaged) -> bool:
    packs = {pack_name(point.domain, chr(pack[0]), pack[1:]) for pack in point.record_packs}
    return bool(({point.name} | packs) & damaged.victims)


def restore(vault: WholeVault, damaged: Damaged) -> int:
    """Every point, whole, with the drill key; how many could not be read."""
    refused = 0
    for point in vault.points:
        try:
            _read(vault, damaged.store, point)
        except DrbackupError as refusal:
            error = refusal
        else:
            continue
        assert needs(point, damaged), f"{damaged.what}: {point.name} needs none of it, and yet: {error.message}"
        damaged.complain(error)
        refused += 1
    return refused


def _read(vault: WholeVault, store: Store, point: WholePoint) -> None:
    reader = vault.reader(store, point)
    seen = set()
    for entry in reader.entries():
        known, data = point.entries[entry.path]
        assert (entry.kind, entry.mode, entry.target, entry.holes) == (
            known.kind,
            known.mode,
            known.target,
            known.holes,
        )
        content = b"".join(reader.content(entry)) if entry.kind == EntryKind.FILE else b""
        assert content == data, f"{entry.path!r}: wrong data"
        seen.add(entry.path)
    assert seen == set(point.entries)


def new_installation(vault: WholeVault, damaged: Damaged) -> int:
    """The vault's description, with the printed evidence key and without."""
    refused = 0
    for key in (vault.signer.public, b""):
        try:
            found = read_vault(damaged.store, key)
            # Without a printed key, a vault that is another's altogether can't be told from ours; with it, it is.
            assert found == vault.description or (not key and found.evidence_key != vault.signer.public)
        except DrbackupError as error:
            damaged.complain(error)
            refused += 1
    assert not refused or VAULT_NAME in damaged.victims
    return refused


def sealed_keys(vault: WholeVault, damaged: Damaged) -> int:
    """The installation's keys, with the custodians'."""
    refused = 0
    for name in list_sealed_keys(damaged.store):
        try:
            keys = open_sealed_keys(damaged.store.get(name), name, vault.description, vault.keyring(RECOVERY))
            assert keys.evidence == vault.seed_of(10)
            assert keys.domains == vault.seed_of(11)
        except DrbackupError as error:
            damaged.complain(error)
            refused += 1
    return refused


def evidence(vault: WholeVault, damaged: Damaged) -> int:
    """The chain of evidence as ``evidence verify`` reads it in a store."""
    inventory = SimpleNamespace(stores={STORE: None})
    fake = SimpleNamespace(inventory=inventory, store=lambda _name: damaged.store, signer=vault.signer)
    report = verify_stores(cast(Installation, fake))[STORE]
    touched = any("/e/" in name for name in damaged.victims)
    assert report.good or touched, f"{damaged.what}: {report.faults}"
    if not report.good:
        text = " ".join(report.faults)
        assert damaged.named(text) or "is missing before" in text, text
    return len(report.faults)


def rebuild(
    vault: WholeVault, damaged: Damaged, catalog: Catalog | None = None, evidence_folder: Path = NOWHERE
) -> RebuildReport:
    """The whole catalog anew, with the evidence in a folder of its own; or (None) only looked at."""
    assert catalog is None or evidence_folder != NOWHERE
    watch: Any = lambda *_: None  # noqa: E731
    work = Rebuilding(vault.origin(damaged.store), evidence_folder, NOON + timedelta(days=9), watch)
    report = work.into(catalog)
    for fault in report.faults:
        text = f"{fault.name} {fault.why}"
        about_chain = "chain" in text or "before point" in text or "is no drill's" in text
        assert damaged.named(text) or about_chain, f"{damaged.what}: {text}"
    hurt = sum(point.name in damaged.victims for point in vault.points)
    assert len(vault.points) - hurt <= report.points <= len(vault.points)
    return report


VIEWS: tuple[Callable[[WholeVault, Damaged], object], ...] = (restore, new_installation, sealed_keys, evidence, rebuild)


def look(vault: WholeVault, damages: Iterable[Damaged]) -> int:
    """Every view of every damage; how many damages there were. A view that raises anything else is the failure."""
    count = 0
    for damaged in damages:
        count += 1
        for view in VIEWS:
            try:
                view(vault, damaged)
            except AssertionError:
                raise
            except BaseException as crash:
                raise AssertionError(f"{view.__name__} of {damaged.what} ended with {crash!r}") from crash
    return count
