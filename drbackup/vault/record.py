"""The recovery point record: the commit. A point exists exactly when its record does.

A record is signed by the evidence key and names the record before it of the same source. So one that was removed or
replayed is noticed. In the clear it says only what scrub and collect need without any key: system, source, times, and
the packs. The tree's root, the source's facts and the sizes are sealed to the recovery, drill and catalog keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec

from drbackup.errors import ObjectCorrupt, say
from drbackup.model.point import SourceFacts, Totals
from drbackup.stores.base import Stat, Store
from drbackup.system.instants import from_ns
from drbackup.vault.envelope import open_envelope, open_signed, seal_envelope, sign_object
from drbackup.vault.keys import Keyring, SigningKey
from drbackup.vault.layout import digest_in_name, record_name, record_prefix
from drbackup.wire.decode_errors import UNREADABLE
from drbackup.wire.specs import Recipient

RECORD_MAGIC = b"DRBKREC1"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The signed body of a record."""

    system: str
    source: str
    domain: str  # that its packs are in
    kind: str  # of the source, as a policy names it
    session: str  # that sent it
    pinned_ns: int  # the instant that the copy shows; UTC nanoseconds, the agent's clock
    committed_ns: int  # UTC nanoseconds, the controller's clock
    previous: str  # SHA-256 of the same source's previous record, hex; empty for the first
    packs: tuple[bytes, ...]  # kind letter + SHA-256 each (33 bytes), sorted
    sealed: bytes  # Sealed, as an envelope
    group: str = ""  # of points that belong together; empty: none


class Sealed(msgspec.Struct, frozen=True):
    """The part of a record that only holders of a key can read."""

    root: bytes  # an encoded drbackup.vault.tree.Root
    facts: SourceFacts
    totals: Totals


class Commit(msgspec.Struct, frozen=True):
    """The content of a record before it is sealed and signed. The fields are those of :class:`Record`."""

    system: str
    source: str
    domain: str
    session: str
    committed_ns: int
    previous: str
    packs: tuple[bytes, ...]  # in any order
    content: Sealed
    group: str = ""


def _context(system: str, source: str, session: str) -> bytes:
    return f"drbackup/1/record/{system}/{source}/{session}".encode()


def make_record(commit: Commit, recipients: tuple[Recipient, ...]) -> Record:
    """The record of a commit, with the private part sealed to ``recipients``. Pure except for the random data key."""
    context = _context(commit.system, commit.source, commit.session)
    return Record(
        system=commit.system,
        source=commit.source,
        domain=commit.domain,
        kind=commit.content.facts.kind,
        session=commit.session,
        group=commit.group,
        pinned_ns=commit.content.facts.pinned_ns,
        committed_ns=commit.committed_ns,
        previous=commit.previous,
        packs=tuple(sorted(commit.packs)),
        sealed=seal_envelope(recipients, msgspec.msgpack.encode(commit.content), context),
    )


def encode_record(record: Record, signer: SigningKey) -> tuple[str, str, bytes]:
    """(id, object name, bytes) of the signed record. The id is the bytes' SHA-256, hex. All stores get these bytes."""
    data = sign_object(RECORD_MAGIC, msgspec.msgpack.encode(record), signer)
    identity = hashlib.sha256(data).hexdigest()
    return identity, record_name(record.system, from_ns(record.committed_ns), identity), data


def write_record(store: Store, record: Record, signer: SigningKey) -> tuple[str, str]:
    """The committed point's (id, object name). Once this has returned, nothing takes the point back.

    Raises the store's error; whether the point exists is then not known.
    """
    identity, name, data = encode_record(record, signer)
    store.put(name, data)
    return identity, name


def decode_record(data: bytes, name: str, evidence_key: bytes) -> Record:
    """The record in ``data``, once its hash fits ``name`` and its signature is checked.

    Raises :class:`ObjectCorrupt` or :class:`~drbackup.errors.SignatureInvalid`, naming the object.
    """
    if hashlib.sha256(data).hexdigest() != digest_in_name(name):
        raise ObjectCorrupt(say("{name}: its bytes do not match its name", name=name), where=name)
    body = open_signed(RECORD_MAGIC, data, evidence_key, name)
    try:
        return msgspec.msgpack.decode(body, type=Record)
    except UNREADABLE as bad:
        raise ObjectCorrupt(say("{name}: {why}", name=name, why=bad), where=name) from bad


def read_record(store: Store, name: str, evidence_key: bytes) -> Record:
    """The record stored under ``name``, once its hash, its signature and the system in its name are checked.

    Raises as :func:`decode_record`, and the store's errors.
    """
    record = decode_record(store.get(name), name, evidence_key)
    if not name.startswith(record_prefix(record.system)):
        raise ObjectCorrupt(say("{name}: is a record of {system}", name=name, system=record.system), where=name)
    return record


def unseal(record: Record, keyring: Keyring) -> Sealed:
    """The private part of a record. Raises :class:`~drbackup.errors.WrongKey` or :class:`ObjectCorrupt`."""
    plain = open_envelope(keyring, record.sealed, _context(record.system, record.source, record.session))
    try:
        return msgspec.msgpack.decode(plain, type=Sealed)
    except UNREADABLE as bad:
        raise ObjectCorrupt(say("the sealed part of a record can't be read: {why}", why=bad)) from bad


def list_records(store: Store, system: str = "") -> Iterator[Stat]:
    """The records of one system, or of all when it is empty, sorted by name.

    Inside a system they are sorted by the second of their commit. Those of one second stand in no certain order, so
    compare ``committed_ns``.
    """
    return iter(sorted(store.list(record_prefix(system)), key=lambda stat: stat.name))
