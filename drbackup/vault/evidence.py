"""Signed evidence objects and their chain.

An evidence object is ``DRBKEVD1`` and a signed :class:`Head` (the form of :mod:`drbackup.vault.envelope`): its number,
its instant, the SHA-256 of the object before it, the SHA-256 of its statement, and the statement itself sealed to the
vault's keys. So the same bytes lie in every store, where nobody can read the statement, and in a folder beside the
statement in clear, where anybody with the evidence key's public half can check everything and needs no other key.

Objects are named by the SHA-256 of their bytes and never changed. A number that is missing, comes twice or does not
name its predecessor's hash breaks the chain. Only the newest objects can be cut off unseen: compare the head (number
and hash) with the one another store, or a printed report, shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime

import msgspec

from drbackup.errors import ObjectCorrupt, say
from drbackup.stores.base import Store
from drbackup.system.instants import to_ns
from drbackup.vault.envelope import open_envelope, open_signed, seal_envelope, sign_object
from drbackup.vault.keys import CATALOG, RECOVERY, Keyring, SigningKey
from drbackup.vault.layout import PREFIX, digest_in_name, evidence_name
from drbackup.wire.decode_errors import UNREADABLE
from drbackup.wire.specs import Recipient

EVIDENCE_MAGIC = b"DRBKEVD1"
EVIDENCE_PREFIX = PREFIX + "e/"
_CONTEXT = b"drbackup/1/evidence"


class Head(msgspec.Struct, frozen=True, array_like=True):
    """The signed part. ``when_ns``: UTC nanoseconds; hashes are SHA-256, 32 bytes; ``previous`` is empty for the first
    object; ``sealed``: the statement as an envelope for the recovery and catalog keys."""

    sequence: int
    when_ns: int
    subject: str  # drill, negative-drill, recovery
    previous: bytes
    statement: bytes
    sealed: bytes


class ChainLink(msgspec.Struct, frozen=True):
    """The newest object of a chain; ``sequence`` 0 and no digest: nothing was written yet."""

    sequence: int = 0
    digest: bytes = b""


class ChainReport(msgspec.Struct, frozen=True):
    """What checking a chain found. ``faults``: one line each, empty when everything fits."""

    objects: int
    head: ChainLink
    faults: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        return not self.faults


def make_evidence(
    statement: bytes,
    *,
    subject: str,
    when: datetime,
    after: ChainLink,
    recipients: Iterable[Recipient],
    signer: SigningKey,
) -> tuple[str, bytes]:
    """The next object's name and bytes. ``recipients``: the vault's; only recovery and catalog can open it."""
    readers = tuple(each for each in recipients if each.role in {RECOVERY, CATALOG})
    head = Head(
        sequence=after.sequence + 1,
        when_ns=to_ns(when),
        subject=subject,
        previous=after.digest,
        statement=hashlib.sha256(statement).digest(),
        sealed=seal_envelope(readers, statement, _CONTEXT),
    )
    data = sign_object(EVIDENCE_MAGIC, msgspec.msgpack.encode(head), signer)
    return evidence_name(when, hashlib.sha256(data).hexdigest()), data


def read_head(data: bytes, public: bytes, name: str) -> Head:
    """The object's signed part, its name and signature checked.

    Raises :class:`ObjectCorrupt` when the bytes do not match the name or can't be read, and
    :class:`~drbackup.errors.SignatureInvalid`.
    """
    if hashlib.sha256(data).hexdigest() != digest_in_name(name):
        raise ObjectCorrupt(say("{name}: the bytes do not match the hash in the name", name=name), where=name)
    body = open_signed(EVIDENCE_MAGIC, data, public, name)
    try:
        return msgspec.msgpack.decode(body, type=Head)
    except UNREADABLE as bad:
        raise ObjectCorrupt(say("{name}: {why}", name=name, why=bad), where=name) from bad


def open_statement(head: Head, keyring: Keyring, name: str) -> bytes:
    """The statement out of its seal. Raises :class:`~drbackup.errors.WrongKey` or :class:`ObjectCorrupt`."""
    statement = open_envelope(keyring, head.sealed, _CONTEXT)
    if hashlib.sha256(statement).digest() != head.statement:
        raise ObjectCorrupt(say("{name}: the sealed statement is not the signed one", name=name), where=name)
    return statement


def list_evidence(store: Store) -> Iterator[str]:
    """Names of the evidence objects in a store, in no promised order."""
    return (stat.name for stat in store.list(EVIDENCE_PREFIX) if digest_in_name(stat.name))


def check_chain(heads: Iterable[tuple[str, Head]]) -> ChainReport:
    """Whether these objects, each checked by :func:`read_head`, are one whole chain from number 1 on."""
    faults: list[str] = []
    before, before_ns = ChainLink(), 0
    count = 0
    for name, head in sorted(heads, key=lambda each: (each[1].sequence, each[0])):
        count += 1
        if head.sequence <= before.sequence:
            faults.append(f"{name}: number {head.sequence} comes twice")
            continue
        if head.sequence > before.sequence + 1:
            lost = f"{before.sequence + 1}" + (f"–{head.sequence - 1}" if head.sequence > before.sequence + 2 else "")
            faults.append(f"{name}: number {lost} is missing before number {head.sequence}")
        elif head.previous != before.digest:
            faults.append(f"{name}: does not name number {before.sequence}'s hash as its predecessor")
        if head.when_ns < before_ns:
            faults.append(f"{name}: is older than number {before.sequence}, which it follows")
        before, before_ns = ChainLink(head.sequence, bytes.fromhex(digest_in_name(name))), head.when_ns
    return ChainReport(count, before, tuple(faults))
