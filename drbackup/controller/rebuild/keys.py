"""The keys of a rebuild: from the home's own files, or from a store's sealed object with the recovery key.

Keys of another vault are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from drbackup.controller.home.initialise import write_description
from drbackup.controller.home.keyfiles import CATALOG_KEY, DOMAINS_KEY, EVIDENCE_KEY, add_seeds, read_seed
from drbackup.controller.rebuild.points import Fault, Origin
from drbackup.errors import NOT_SOUND, DrbackupError, SignatureInvalid, VaultMissing, WrongKey, say
from drbackup.stores.base import Store
from drbackup.vault.description import VaultDescription, read_vault
from drbackup.vault.keys import CATALOG, RECOVERY, Keyring, SealKey, SigningKey
from drbackup.vault.layout import VAULT_NAME
from drbackup.vault.sealed_keys import InstallationKeys, list_sealed_keys, open_sealed_keys, require_custodians

_NEEDED = (CATALOG_KEY, EVIDENCE_KEY, DOMAINS_KEY)


class HomeKeys(msgspec.Struct, frozen=True):
    """The keys that a rebuild opens objects with, and what the home lacks."""

    description: VaultDescription
    catalog: SealKey
    recovery: SealKey | None  # None: data packs can't be opened
    seeds: Mapping[str, bytes]  # key file that the home lacks → seed to be written
    stores: tuple[str, ...]  # those that hold this vault
    faults: tuple[Fault, ...]  # stores and sealed objects that are not as they should be
    notes: tuple[str, ...]  # stores without any vault

    def __repr__(self) -> str:
        return f"HomeKeys(vault={self.description.vault_id}, seeds=***)"

    def origin(self, stores: Mapping[str, Store]) -> Origin:
        """The stores that are read, and the keys that open their objects."""
        keys = [self.catalog] if self.recovery is None else [self.catalog, self.recovery]
        ours = {name: stores[name] for name in self.stores}
        return Origin(ours, self.description.evidence_key, Keyring(keys), opens_data=self.recovery is not None)

    def settle(self, home: Path) -> None:
        """A home that has its folders, the vault's description and the keys, durably.

        After a crash in between, the next rebuild does the rest.
        """
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("logs", "evidence"):
            (home / name).mkdir(mode=0o700, exist_ok=True)
        write_description(home, self.description)
        add_seeds(home / "keys", self.seeds)


def keys_for_rebuild(home: Path, stores: Mapping[str, Store], recovery_seed: bytes | None) -> HomeKeys:
    """The keys of the vault in ``stores``, checked to be that vault's. Nothing is written.

    Raises :class:`VaultMissing` or :class:`SignatureInvalid` without a vault, or when the stores hold different ones.
    Raises :class:`WrongKey` (exit code 12) when a key is another vault's, or when the catalog key is not found. It is
    looked for in the home, and with the recovery key in the stores.
    """
    faults: list[Fault] = []
    notes: list[str] = []
    description, ours = _vaults(stores, faults, notes)
    recovery = None
    if recovery_seed is not None:
        recovery = SealKey.from_seed(RECOVERY, recovery_seed)
        require_custodians(recovery, description)
    have = _in_home(home)
    sealed: InstallationKeys | None = None
    if recovery is not None and set(have) < set(_NEEDED):
        sealed = _unsealed({name: stores[name] for name in ours}, description, Keyring([recovery]), faults)
    lacking = {name: seed for name, seed in _files(sealed).items() if name not in have}
    seeds = {**have, **lacking}
    _require_ours(seeds, description, home)
    for name in _NEEDED:
        if name not in seeds:
            faults.append(Fault("", f"keys/{name}", f"{home / 'keys' / name} is missing: no backup can be made"))
    catalog = SealKey.from_seed(CATALOG, seeds[CATALOG_KEY])
    return HomeKeys(description, catalog, recovery, lacking, ours, tuple(faults), tuple(notes))


def _vaults(
    stores: Mapping[str, Store], faults: list[Fault], notes: list[str]
) -> tuple[VaultDescription, tuple[str, ...]]:
    """(the vault's description, the stores that hold this vault). What is wrong goes to ``faults`` and ``notes``."""
    ours: dict[str, VaultDescription] = {}
    first: DrbackupError = VaultMissing("the inventory names no store")
    for name, store in stores.items():
        try:
            ours[name] = read_vault(store)
        except VaultMissing as none:
            first = none
            notes.append(none.message)
        except NOT_SOUND as bad:
            first = bad
            faults.append(Fault(name, VAULT_NAME, bad.message))
    if not ours:
        raise first
    chosen, description = next(iter(ours.items()))
    for name, each in ours.items():
        if each != description:  # only a person can say which of the two is ours
            raise SignatureInvalid(
                say("stores {chosen} and {name} hold different vaults", chosen=chosen, name=name),
                where=name,
                hint="name the store whose evidence key is the printed one",
            )
    return description, tuple(ours)


def _in_home(home: Path) -> dict[str, bytes]:
    found = {}
    for name in _NEEDED:
        try:
            found[name] = read_seed(home / "keys", name)
        except VaultMissing:
            continue
    return found


def _files(keys: InstallationKeys | None) -> dict[str, bytes]:
    return {} if keys is None else dict(zip(_NEEDED, (keys.catalog, keys.evidence, keys.domains), strict=True))


def _unsealed(
    stores: Mapping[str, Store], description: VaultDescription, keyring: Keyring, faults: list[Fault]
) -> InstallationKeys:
    """The keys in the newest sound object of the first store that has one. Raises :class:`WrongKey` without one."""
    for store_name, store in stores.items():
        for name in list_sealed_keys(store):
            try:
                return open_sealed_keys(store.get(name), name, description, keyring)
            except NOT_SOUND as bad:
                faults.append(Fault(store_name, name, bad.message))
    raise WrongKey(
        "no store holds this installation's keys sealed to the custodians",
        hint="bring keys/catalog.key back from elsewhere; vaults founded by old versions have no such object",
    )


def _require_ours(seeds: Mapping[str, bytes], description: VaultDescription, home: Path) -> None:
    if CATALOG_KEY not in seeds:
        raise WrongKey(
            say("there is no catalog key in {home}", home=home / "keys"),
            where=str(home / "keys" / CATALOG_KEY),
            hint="join the custodians' shares (drbackup keys combine) and say --recovery-key FILE",
        )
    if SealKey.from_seed(CATALOG, seeds[CATALOG_KEY]).recipient not in description.recipients:
        raise WrongKey("the catalog key is another vault's", where=str(home / "keys" / CATALOG_KEY))
    if EVIDENCE_KEY in seeds and SigningKey.from_seed(seeds[EVIDENCE_KEY]).public != description.evidence_key:
        raise WrongKey("the evidence key is another vault's", where=str(home / "keys" / EVIDENCE_KEY))
