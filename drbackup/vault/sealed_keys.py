"""The installation's own keys in every store, sealed to the custodians' recovery key and to nobody else.

When the backup centre is lost, the shares and one store bring back the catalog, evidence and domains keys. The city
then continues its chains, and new backups deduplicate against what is stored. The drill key is not among them: it opens
contents, and belongs on the drill host only.

The object is signed by the evidence key that it holds, so it belongs to this vault. It can't prove that the whole vault
is genuine: whoever restores compares the evidence key with the printed one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from drbackup.errors import ObjectCorrupt, SignatureInvalid, WrongKey, say
from drbackup.stores.base import Store
from drbackup.system.instants import to_ns
from drbackup.vault.description import VaultDescription
from drbackup.vault.envelope import open_envelope, open_signed, seal_envelope, sign_object
from drbackup.vault.keys import CATALOG, RECOVERY, Keyring, SealKey, SigningKey
from drbackup.vault.layout import SEALED_KEYS_PREFIX, digest_in_name, sealed_keys_name
from drbackup.vault.suite import KEY_SIZE
from drbackup.wire.decode_errors import UNREADABLE

KEYS_MAGIC = b"DRBKKEY1"


class InstallationKeys(msgspec.Struct, frozen=True):
    """The seeds of an installation's own keys, 32 bytes each. Never shown, never logged."""

    catalog: bytes  # seed of the catalog key
    evidence: bytes  # seed of the evidence key
    domains: bytes  # root secret of all domains' keys

    def __repr__(self) -> str:
        return "InstallationKeys(***)"


class _Body(msgspec.Struct, frozen=True):
    vault_id: str
    created_ns: int  # UTC nanoseconds
    sealed: bytes  # InstallationKeys, as an envelope for the recovery key


def _context(vault_id: str) -> bytes:
    return f"drbackup/1/keys/{vault_id}".encode()


def make_sealed_keys(keys: InstallationKeys, description: VaultDescription, now: datetime) -> tuple[str, bytes]:
    """(object name, bytes) of the sealed keys. The same bytes are put into every store of the vault."""
    custodians = tuple(each for each in description.recipients if each.role == RECOVERY)
    sealed = seal_envelope(custodians, msgspec.msgpack.encode(keys), _context(description.vault_id))
    body = msgspec.msgpack.encode(_Body(description.vault_id, to_ns(now), sealed))
    data = sign_object(KEYS_MAGIC, body, SigningKey.from_seed(keys.evidence))
    return sealed_keys_name(now.astimezone(UTC), hashlib.sha256(data).hexdigest()), data


def list_sealed_keys(store: Store) -> Iterator[str]:
    """The names of such objects in a store, the newest first."""
    return iter(sorted((stat.name for stat in store.list(SEALED_KEYS_PREFIX)), reverse=True))


def open_sealed_keys(data: bytes, name: str, description: VaultDescription, keyring: Keyring) -> InstallationKeys:
    """The installation's keys, once they are found to be those of the vault ``description``.

    Raises :class:`ObjectCorrupt` when the object was damaged, and :class:`WrongKey` without the recovery key. Raises
    :class:`SignatureInvalid` when the object belongs to another vault.
    """
    if hashlib.sha256(data).hexdigest() != digest_in_name(name):
        raise ObjectCorrupt(say("{name}: its bytes do not match its name", name=name), where=name)
    signed = open_signed(KEYS_MAGIC, data, description.evidence_key, name)
    try:
        body = msgspec.msgpack.decode(signed, type=_Body)
        if body.vault_id != description.vault_id:
            raise SignatureInvalid(
                say("{name}: belongs to vault {vault_id}", name=name, vault_id=body.vault_id), where=name
            )
        plain = open_envelope(keyring, body.sealed, _context(description.vault_id))
        keys = msgspec.msgpack.decode(plain, type=InstallationKeys)
    except UNREADABLE as bad:
        raise ObjectCorrupt(say("{name}: can't be read: {why}", name=name, why=bad), where=name) from bad
    if not fit(keys, description):
        raise SignatureInvalid(say("{name}: holds the keys of another vault", name=name), where=name)
    return keys


def fit(keys: InstallationKeys, description: VaultDescription) -> bool:
    """Whether these are the keys whose public halves the vault names."""
    if any(len(seed) != KEY_SIZE for seed in (keys.catalog, keys.evidence, keys.domains)):
        return False
    named = SealKey.from_seed(CATALOG, keys.catalog).recipient in description.recipients
    return named and SigningKey.from_seed(keys.evidence).public == description.evidence_key


def require_custodians(key: SealKey, description: VaultDescription) -> None:
    """A check that ``key`` is the recovery key that this vault names. Raises :class:`WrongKey` when it is not."""
    if key.recipient not in description.recipients:
        raise WrongKey(
            "this recovery key is another installation's", hint="check that the shares are of this vault's set"
        )
