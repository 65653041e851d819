"""``drbackup init``: keys, the vault in every store, an empty catalog.

The recovery key's private half exists only in what :func:`initialise` returns, as the custodians' shares. It is never
written anywhere. Order: every store is checked, then the vaults are created, and the keys appear in the home last. A
crash before the last step leaves empty vaults that nobody has keys for. The next ``init`` names them and refuses.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import msgspec

from drbackup.controller.catalog import Catalog
from drbackup.controller.home.installation import CATALOG_FILE, Installation, is_initialised
from drbackup.controller.home.keyfiles import (
    CATALOG_KEY,
    DOMAINS_KEY,
    DRILL_KEY,
    EVIDENCE_KEY,
    read_seed,
    write_seeds,
)
from drbackup.controller.home.policies import load
from drbackup.errors import DrbackupError, ObjectExists, UsageError, say
from drbackup.stores.base import Store
from drbackup.stores.registry import open_store
from drbackup.system.durable import write_file
from drbackup.system.instants import to_ns
from drbackup.vault.custody import split_seed
from drbackup.vault.description import VaultDescription, create_vault
from drbackup.vault.keys import CATALOG, DRILL, RECOVERY, SealKey, SigningKey, new_seed
from drbackup.vault.layout import VAULT_NAME
from drbackup.vault.sealed_keys import InstallationKeys, list_sealed_keys, make_sealed_keys

DESCRIPTION_FILE = "vault.description"


class NewInstallation(msgspec.Struct, frozen=True):
    """The results of ``init`` that must be shown once: nobody can ask for the shares again."""

    shares: tuple[str, ...]  # SLIP-39 words, one string a custodian
    threshold: int
    vault: VaultDescription
    stores: tuple[str, ...]  # where the vault was created
    pending: dict[str, str]  # store → why it has no vault yet; run extend() later
    drill_key: Path  # to be moved to the drill host

    def __repr__(self) -> str:
        return f"Founding(vault={self.vault.vault_id}, shares=***)"


def initialise(home: Path, policies_folder: Path, custodians: tuple[int, int], *, now: datetime) -> NewInstallation:
    """A new installation in ``home`` with a recovery key for ``custodians`` (threshold, shares).

    Raises :class:`UsageError` when there is an installation already, or a store has a vault already. Raises
    :class:`~drbackup.errors.PolicyError`, and the store's error when not one store could take the vault.
    """
    if is_initialised(home):
        raise UsageError(say("there is an installation in {home} already", home=home), safe="nothing was changed")
    inventory = load(policies_folder).inventory
    seeds = {name: new_seed() for name in (CATALOG_KEY, EVIDENCE_KEY, DOMAINS_KEY, DRILL_KEY)}
    recovery = new_seed()
    threshold, count = custodians
    shares = tuple(split_seed(recovery, threshold, count))  # refuses an impossible number before anything is made
    signer = SigningKey.from_seed(seeds[EVIDENCE_KEY])
    description = VaultDescription(
        vault_id=new_seed()[:16].hex(),
        created_ns=to_ns(now),
        recipients=(
            SealKey.from_seed(RECOVERY, recovery).recipient,
            SealKey.from_seed(DRILL, seeds[DRILL_KEY]).recipient,
            SealKey.from_seed(CATALOG, seeds[CATALOG_KEY]).recipient,
        ),
        evidence_key=signer.public,
    )
    stores = [open_store(name, entry) for name, entry in inventory.stores.items()]
    sealed = make_sealed_keys(
        InstallationKeys(seeds[CATALOG_KEY], seeds[EVIDENCE_KEY], seeds[DOMAINS_KEY]), description, now
    )
    founded, pending = _create_vaults(stores, description, signer, sealed)
    _write_home(home, seeds, description)
    return NewInstallation(shares, threshold, description, founded, pending, drill_key=home / "keys" / DRILL_KEY)


def extend(installation: Installation, *, now: datetime) -> tuple[str, ...]:
    """The names of the stores that lacked the vault or the sealed keys; now every store of the inventory has both.

    The keys are the installation's, sealed to the custodians. To be run again whenever a key has changed; to run it
    without need does nothing. Raises the store's error.
    """
    description = read_description(installation.home)
    keys = InstallationKeys(
        *(read_seed(installation.keys_folder, name) for name in (CATALOG_KEY, EVIDENCE_KEY, DOMAINS_KEY))
    )
    name, data = make_sealed_keys(keys, description, now)
    given = []
    for store_name in installation.inventory.stores:
        store = installation.store(store_name)
        if store.stat(VAULT_NAME) is None:
            create_vault(store, description, installation.signer)
            given.append(store_name)
        installation.vault(store_name)  # never write where our vault is not
        if next(list_sealed_keys(store), None) is None:
            store.put(name, data)
            given.append(store_name)
    return tuple(dict.fromkeys(given))


def read_description(home: Path) -> VaultDescription:
    """The installation's own copy of its vaults' description. It holds public keys only."""
    return msgspec.msgpack.decode((home / DESCRIPTION_FILE).read_bytes(), type=VaultDescription)


def write_description(home: Path, description: VaultDescription) -> None:
    """A guarantee that the home holds this description, durably. Nothing is written when it does already."""
    path = home / DESCRIPTION_FILE
    if path.exists() and read_description(home) == description:
        return
    write_file(path, msgspec.msgpack.encode(description))


def _create_vaults(
    stores: Iterable[Store], description: VaultDescription, signer: SigningKey, sealed: tuple[str, bytes]
) -> tuple[tuple[str, ...], dict[str, str]]:
    ready, pending = [], {}
    trouble: DrbackupError | None = None
    for store in stores:
        try:
            taken = store.stat(VAULT_NAME) is not None
        except DrbackupError as unready:
            pending[store.name], trouble = unready.message, unready
            continue
        if taken:
            raise UsageError(
                say("store {store} holds a vault already", store=store.name),
                hint="if its home is lost: drbackup vault rebuild --recovery-key FILE; else give this installation "
                "another prefix in inventory.yaml",
                safe="nothing was changed",
            )
        ready.append(store)
    founded = []
    for store in ready:
        try:
            create_vault(store, description, signer)
            store.put(*sealed)
        except ObjectExists:
            raise UsageError(
                say("store {store}: somebody else founded a vault there a moment ago", store=store.name)
            ) from None
        except DrbackupError as failed:
            pending[store.name], trouble = failed.message, failed
            continue
        founded.append(store.name)
    if not founded and trouble is not None:
        raise trouble  # an installation without any vault is of no use to anybody
    return tuple(founded), pending


def _write_home(home: Path, seeds: dict[str, bytes], description: VaultDescription) -> None:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("logs", "evidence"):
        (home / name).mkdir(mode=0o700, exist_ok=True)
    write_description(home, description)
    Catalog.open(home / CATALOG_FILE).close()
    write_seeds(home / "keys", seeds)  # from here on the installation exists
