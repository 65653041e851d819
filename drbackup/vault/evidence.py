"""Signed evidence objects and their chain.

An evidence object is ``DRBKEVD1`` and a signed :class:`Head` (the form of :mod:`drbackup.vault.envelope`). The head
holds the object's number, its instant, the SHA-256 of the object before it and the SHA-256 of its statement. It also
holds the statement itself, sealed to the vault's keys.

The same bytes lie in every store, where nobody can read the statement. They also lie in a folder, beside the statement
in clear. There the public half of the evidence key is enough to check everything.

Objects are named by the SHA-256 of their bytes and never changed. An object breaks the chain when its number is missing
or comes twice, or when it does not name the hash of the object before. Only the newest objects can be removed unseen.
To see that, compare the newest number and hash with those of another store or of a printed report.
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
    """The signed part of an evidence object."""

    sequence: int  # the number in the chain, from 1 on
    when_ns: int  # UTC nanoseconds
    subject: str  # drill, negative-drill, recovery, collected
    previous: bytes  # SHA-256 of the object before, 32 bytes; empty for the first
    statement: bytes  # SHA-256 of the statement, 32 bytes
    sealed: bytes  # the statement as an envelope for the recovery and catalog keys


class ChainLink(msgspec.Struct, frozen=True):
    """The newest object of a chain."""

    sequence: int = 0  # 0: nothing was written yet
    digest: bytes = b""  # SHA-256 of the object, 32 bytes; empty when nothing was written yet


class ChainReport(msgspec.Struct, frozen=True):
    """The result of checking a chain."""

    objects: int  # how many were checked
    head: ChainLink  # the newest of them
    faults: tuple[str, ...] = ()  # one line each; empty when everything fits

    @property
    def good(self) -> bool:
        """Whether the chain has no fault."""
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
    """The next object's name and bytes. Of ``recipients``, the vault's, only recovery and catalog can open it."""
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
    """The object's signed part, once its name and signature are checked.

    Raises :class:`ObjectCorrupt` when the bytes do not match the name or can't be read. Raises
    :class:`~drbackup.errors.SignatureInvalid` when ``public`` (32 bytes) did not sign it.
    """
    if hashlib.sha256(data).hexdigest() != digest_in_name(name):
        raise ObjectCorrupt(say("{name}: the bytes do not match the hash in the name", name=name), where=name)
    body = open_signed(EVIDENCE_MAGIC, data, public, name)
    try:
        return msgspec.msgpack.decode(body, type=Head)
    except UNREADABLE as bad:
        raise ObjectCorrupt(say("{name}: {why}", name=name, why=bad), where=name) from bad


def open_statement(head: Head, keyring: Keyring, name: str) -> bytes:
    """The statement, opened and compared with its signed hash.

    Raises :class:`~drbackup.errors.WrongKey` when no key at hand opens it, and :class:`ObjectCorrupt` when it differs.
    """
    statement = open_envelope(keyring, head.sealed, _CONTEXT)
    if hashlib.sha256(statement).digest() != head.statement:
        raise ObjectCorrupt(say("{name}: the sealed statement is not the signed one", name=name), where=name)
    return statement


def list_evidence(store: Store) -> Iterator[str]:
    """The names of the evidence objects in a store, in no certain order."""
    return (stat.name for stat in store.list(EVIDENCE_PREFIX) if digest_in_name(stat.name))


def check_chain(heads: Iterable[tuple[str, Head]]) -> ChainReport:
    """The report on whether these objects are one whole chain from number 1 on.

    ``heads``: (object name, head), each checked by :func:`read_head` before; their order does not matter.
    """
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
