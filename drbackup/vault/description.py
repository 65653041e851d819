"""The one object every vault begins with: its format, suite and public keys, signed."""

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
    """What the ``vault`` object says. ``created_ns``: UTC nanoseconds; ``evidence_key``: Ed25519 public, 32 bytes."""

    vault_id: str
    created_ns: int
    recipients: tuple[Recipient, ...]
    evidence_key: bytes
    format: int = FORMAT
    suite: int = SUITE


def create_vault(store: Store, description: VaultDescription, signer: SigningKey) -> None:
    """Write the ``vault`` object. Raises :class:`~drbackup.errors.ObjectExists` if another vault is there."""
    store.put(VAULT_NAME, encode_vault(description, signer))


def encode_vault(description: VaultDescription, signer: SigningKey) -> bytes:
    """The ``vault`` object's bytes: the same for the same description and key, so every store has the same."""
    return sign_object(VAULT_MAGIC, msgspec.msgpack.encode(description), signer)


def read_vault(store: Store, evidence_key: bytes = b"") -> VaultDescription:
    """The vault's description. It must be signed by ``evidence_key`` (32 bytes), or by the key it names if empty.

    Raises :class:`VaultMissing`, :class:`~drbackup.errors.SignatureInvalid`, :class:`FormatUnsupported`.
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
