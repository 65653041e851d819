"""The one object that every vault begins with: its format, suite and public keys, signed.

Refuses a vault of another format or suite, and one that another evidence key signed.
"""

from __future__ import annotations

import msgspec

from drbackup.errors import FormatUnsupported, ObjectCorrupt, ObjectMissing, VaultMissing, say
from drbackup.stores.base import Store
from drbackup.vault.envelope import open_signed, sign_object
from drbackup.vault.keys import SigningKey
from drbackup.vault.layout import VAULT_NAME
from drbackup.vault.suite import FORMAT, SUITE
from drbackup.wire.decode_errors import UNREADABLE
from drbackup.wire.specs import Recipient

VAULT_MAGIC = b"DRBKVLT1"


class VaultDescription(msgspec.Struct, frozen=True):
    """The content of the ``vault`` object."""

    vault_id: str  # 32 hex characters, random
    created_ns: int  # UTC nanoseconds
    recipients: tuple[Recipient, ...]  # public keys that packs and sealed parts are sealed to
    evidence_key: bytes  # Ed25519 public key, 32 bytes
    format: int = FORMAT
    suite: int = SUITE


def create_vault(store: Store, description: VaultDescription, signer: SigningKey) -> None:
    """The store has the ``vault`` object afterwards.

    Raises :class:`~drbackup.errors.ObjectExists` if another vault is there.
    """
    store.put(VAULT_NAME, encode_vault(description, signer))


def encode_vault(description: VaultDescription, signer: SigningKey) -> bytes:
    """The ``vault`` object's bytes. One description and key always give the same, so all stores have the same."""
    return sign_object(VAULT_MAGIC, msgspec.msgpack.encode(description), signer)


def read_vault(store: Store, evidence_key: bytes = b"") -> VaultDescription:
    """The vault's description, signed by ``evidence_key`` (32 bytes). If that is empty, by the key it names itself.

    Raises :class:`VaultMissing` without a ``vault`` object, and :class:`ObjectCorrupt` when it can't be read. Raises
    :class:`~drbackup.errors.SignatureInvalid` for another signature, :class:`FormatUnsupported` for another format.
    """
    try:
        data = store.get(VAULT_NAME)
    except ObjectMissing as missing:
        raise VaultMissing(say("there is no vault in store {store}", store=store.name), where=VAULT_NAME) from missing
    body = open_signed(VAULT_MAGIC, data, evidence_key, VAULT_NAME)
    try:
        description = msgspec.msgpack.decode(body, type=VaultDescription)
    except UNREADABLE as bad:
        raise ObjectCorrupt(say("{vault_name}: {why}", vault_name=VAULT_NAME, why=bad), where=VAULT_NAME) from bad
    if description.format != FORMAT or description.suite != SUITE:
        raise FormatUnsupported(
            say("vault format {format}, suite {suite}", format=description.format, suite=description.suite)
        )
    if not evidence_key:
        open_signed(VAULT_MAGIC, data, description.evidence_key, VAULT_NAME)
    return description
