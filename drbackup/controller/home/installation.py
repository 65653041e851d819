"""One installation: its home folder, its policies, its keys, its catalog and its stores, opened together.

Owns what belongs to exactly one backup centre. Refuses to open a home that was never initialised. The stores' vault
descriptions are checked against our own evidence key. So a store can't make us seal to somebody else's public keys.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from drbackup.controller.catalog import Catalog
from drbackup.controller.home.keyfiles import CATALOG_KEY, DOMAINS_KEY, DRILL_KEY, EVIDENCE_KEY, read_seed
from drbackup.controller.home.policies import PolicySet, load, load_readable
from drbackup.errors import CatalogUnusable, SignatureInvalid, UsageError, VaultMissing, say
from drbackup.model.document import nearest
from drbackup.model.inventory import AgentEntry, Inventory, StoreEntry
from drbackup.model.policy import Policy
from drbackup.stores.base import Store
from drbackup.stores.registry import open_store
from drbackup.vault.description import VaultDescription, read_vault
from drbackup.vault.keys import CATALOG, DRILL, Keyring, SealKey, SigningKey, domain_keys
from drbackup.vault.layout import VAULT_NAME
from drbackup.wire.specs import DomainKeys

CATALOG_FILE = "catalog.sqlite"
StoreOpener = Callable[[str, StoreEntry], Store]  # by name and inventory entry


class Installation:
    """An opened installation. Thread-safe."""

    def __init__(
        self,
        home: Path,
        policies_folder: Path,
        policies: PolicySet,
        catalog: Catalog,
        stores: StoreOpener = open_store,
    ) -> None:
        self.home = home
        self.policies_folder = policies_folder
        self.policies = policies
        self.catalog = catalog
        self._open_store = stores
        self._mutex = threading.Lock()
        self._stores: dict[str, tuple[StoreEntry, Store]] = {}
        self._vaults: dict[str, VaultDescription] = {}

    @classmethod
    def open(
        cls,
        home: Path,
        policies_folder: Path,
        *,
        new_catalog: bool = False,
        broken_policies: bool = False,
        stores: StoreOpener = open_store,
    ) -> Self:
        """The opened installation that :func:`drbackup.controller.home.initialise.initialise` made.

        With ``broken_policies`` it opens even when a policy is broken. That is for a caller that only reads, restores,
        or gets each policy by :meth:`policy`. With ``new_catalog`` a lost catalog is replaced by an empty one, which
        :func:`drbackup.controller.backup.adopt.adopt_records` then fills. ``stores`` opens a store at its first use,
        and again when its inventory entry changed; no store is opened here.

        Raises :class:`VaultMissing` when ``home`` holds no installation, :class:`~drbackup.errors.PolicyError`, and
        :class:`~drbackup.errors.CatalogUnusable`, also for a lost catalog without ``new_catalog``.
        """
        if not is_initialised(home):
            raise VaultMissing(
                say("there is no installation in {home}", home=home),
                where=str(home),
                hint="name its folder with --home or DRBACKUP_HOME; to found a new one: drbackup init",
            )
        policies = (load_readable if broken_policies else load)(policies_folder)
        path = home / CATALOG_FILE
        if not new_catalog and not path.exists():
            # With a silent empty catalog every chain of records would begin again, and the city would seem to have no
            # backups.
            raise CatalogUnusable(
                say("the catalog {path} is gone", path=path),
                where=str(path),
                hint="bring it back from the vault: drbackup vault rebuild",
            )
        return cls(home, policies_folder, policies, Catalog.open(path), stores)

    # --- folders and policies ---

    @property
    def keys_folder(self) -> Path:
        return self.home / "keys"

    @property
    def evidence_folder(self) -> Path:
        return self.home / "evidence"

    @property
    def logs_folder(self) -> Path:
        return self.home / "logs"

    @property
    def inventory(self) -> Inventory:
        return self.policies.inventory

    def policy(self, system: str) -> Policy:
        """The system's policy. Raises :class:`UsageError` for a system without one.

        Raises :class:`~drbackup.errors.PolicyError` when it is broken.
        """
        self.policies.require_known(system)
        found = self.policies.policies.get(system)
        if found is None:
            raise UsageError(
                say("no policy for system {system}", system=system), hint=nearest(system, self.policies.policies)
            )
        return found

    def agent(self, name: str) -> AgentEntry:
        """The agent's inventory entry. Raises :class:`UsageError` for an unknown agent."""
        found = self.inventory.agents.get(name)
        if found is None:
            raise UsageError(
                say("no agent {name} in the inventory", name=name), hint=nearest(name, self.inventory.agents)
            )
        return found

    def reload_policies(self) -> PolicySet:
        """The policies, read again. Raises :class:`~drbackup.errors.PolicyError`; then the old ones stay."""
        self.policies = load(self.policies_folder)
        return self.policies

    # --- stores and vaults ---

    def store(self, name: str) -> Store:
        """The opened store. Raises :class:`UsageError` for an unknown name."""
        entry = self.inventory.stores.get(name)
        if entry is None:
            raise UsageError(
                say("no store {name} in the inventory", name=name), hint=nearest(name, self.inventory.stores)
            )
        with self._mutex:
            held = self._stores.get(name)
            if held is None or held[0] != entry:  # a reload may have changed its entry
                held = (entry, self._open_store(name, entry))
                self._stores[name] = held
                self._vaults.pop(name, None)
            return held[1]

    def vault(self, name: str) -> VaultDescription:
        """The store's vault, checked to be ours. Raises :class:`VaultMissing`, :class:`SignatureInvalid`.

        A disk is checked each time: when it was unmounted, its folder is empty, and nothing may be written there.
        """
        store = self.store(name)
        with self._mutex:
            known = self._vaults.get(name)
        if known is None or (self.inventory.stores[name].place.may_be_unmounted and store.stat(VAULT_NAME) is None):
            known = read_vault(store, self.signer.public)
            if known.evidence_key != self.signer.public:
                raise SignatureInvalid(
                    say("the vault in store {name} names another evidence key", name=name), where=name
                )
            with self._mutex:
                self._vaults[name] = known
        return known

    # --- keys ---

    @cached_property
    def signer(self) -> SigningKey:
        """The evidence key, which signs records and evidence."""
        return SigningKey.from_seed(read_seed(self.keys_folder, EVIDENCE_KEY))

    @cached_property
    def keyring(self) -> Keyring:
        """The catalog key alone, which opens trees and records, but no content."""
        return Keyring([SealKey.from_seed(CATALOG, read_seed(self.keys_folder, CATALOG_KEY))])

    def drill_key(self) -> SealKey:
        """The drill key, as long as it lies in the home. In a finished installation only the drill host has it.

        Raises :class:`VaultMissing` when it was moved away.
        """
        return SealKey.from_seed(DRILL, read_seed(self.keys_folder, DRILL_KEY))

    def domain_keys(self, domain: str, store: str) -> DomainKeys:
        """The keys that an agent needs to write to its domain of the vault in ``store``."""
        secret = read_seed(self.keys_folder, DOMAINS_KEY)
        entry = self.inventory.agents.get(domain)
        return domain_keys(secret, domain, self.vault(store).recipients, entry.epoch if entry is not None else 0)

    # --- end ---

    def close(self) -> None:
        self.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_initialised(home: Path) -> bool:
    """Whether ``home`` holds an installation. Its keys folder appears only when all keys are written."""
    return (home / "keys").is_dir()
