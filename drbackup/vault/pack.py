"""Packs: many sealed chunks in one immutable object, named by the SHA-256 of its bytes.

Layout: header in the clear (magic, format, suite, kind, sealed data keys, salt, key commitment) · sealed chunks, one
behind another · sealed table of the chunks · sealed footer (32 bytes: where the table begins). Nothing in the clear
tells a length; the table is padded so that the whole object's size says little. A pack is self-sufficient: with the
pack and a private key everything in it can be read.

Nonces are ordinals under a key that is used for one pack only (HKDF of the session's data key and a random salt), so
none repeats. The commitment stops a pack that opens under two keys (GCM does not commit).
"""

from __future__ import annotations

import hashlib
import os
import struct
from typing import Annotated

import msgspec
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import constant_time
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from drbackup.errors import FormatUnsupported, ObjectCorrupt, say
from drbackup.vault.keys import Keyring, key_id, seal_to
from drbackup.vault.layout import PACK_KINDS, RECIPIENT_ROLES
from drbackup.vault.suite import FORMAT, KEY_SIZE, MAX_CHUNK, SUITE, TAG_SIZE, derive
from drbackup.wire.decode_errors import UNREADABLE
from drbackup.wire.messages import PLACES, Digest, Place
from drbackup.wire.specs import DomainKeys

PACK_MAGIC = b"DRBKPAC1"
PACK_SIZE = 34 << 20  # a pack is closed once it has this many bytes: fewer requests against memory for three of them
PACK_CHUNKS = 1 << 16  # or this many chunks: very small ones would make a table that fits into no frame
BUFFER_SIZE = PACK_SIZE + MAX_CHUNK + (8 << 20)  # room for one chunk too many and the table; only used pages cost
HEADER_LIMIT = 16 << 10  # a reader asks for this much first; headers are far smaller
FOOTER_SIZE = 16 + TAG_SIZE
_HEADER_LENGTH = struct.Struct(">8sI")
_TABLE_NONCE, _FOOTER_NONCE = 2**32 - 2, 2**32 - 1


class PackHeader(msgspec.Struct, frozen=True, array_like=True):
    """The clear part: msgpack, behind the magic and its u32 length."""

    format: int
    suite: int
    kind: str
    salt: bytes
    commitment: bytes
    sealed_keys: tuple[tuple[bytes, bytes], ...]  # (key id, HPKE sealed data key)


class TableRow(msgspec.Struct, frozen=True, array_like=True):
    """One chunk of a pack, in ordinal order. ``size`` sealed bytes (tag included), ``raw`` plain bytes."""

    id: Digest
    size: int
    raw: int


_TABLE = msgspec.msgpack.Decoder(Annotated[list[TableRow], msgspec.Meta(max_length=PLACES)])


class SessionKey(msgspec.Struct, frozen=True):
    """One session's data key for one kind of pack, and its sealed forms for the headers."""

    kind: str
    domain: str
    secret: bytes
    sealed_keys: tuple[tuple[bytes, bytes], ...]

    @classmethod
    def new(cls, kind: str, keys: DomainKeys) -> SessionKey:
        """A fresh key, sealed to the recipients who may open this kind of pack. The writer forgets it at the end, so
        a later compromise can't read what was written before."""
        secret = os.urandom(KEY_SIZE)
        roles = RECIPIENT_ROLES[kind]
        sealed = tuple(
            (key_id(each.public), seal_to(each, secret, key_context(kind, keys.domain)))
            for each in keys.recipients
            if each.role in roles
        )
        return cls(kind, keys.domain, secret, sealed)


def key_context(kind: str, domain: str) -> bytes:
    """What a sealed data key is bound to."""
    return f"drbackup/1/data-key/{kind}/{domain}".encode()


def _nonce(ordinal: int) -> bytes:
    return ordinal.to_bytes(12, "big")


def _pack_keys(secret: bytes, salt: bytes, kind: str, domain: str) -> tuple[bytes, bytes]:
    """(sealing key, commitment) of one pack."""
    context = f"{kind}/{domain}".encode()
    both = derive(secret, "pack", salt=salt, context=context, size=2 * KEY_SIZE)
    return both[:KEY_SIZE], both[KEY_SIZE:]


def _padding(size: int) -> int:
    """Bytes to add so that an object of ``size`` bytes tells little: Padmé (Nikitin et al., PETS 2019) steps, capped at
    64 KiB because a full pack's size is near constant anyway."""
    exponent = max(size.bit_length() - 1, 1)
    step = 1 << max(exponent - exponent.bit_length(), 0)
    return -size % min(step, 64 << 10)


class PackBuilder:
    """One open pack. Not thread-safe: its owner holds a lock around :meth:`add`.

    ``buffer``: writable memory of at least :data:`BUFFER_SIZE` bytes, which a following builder may use again when
    this one's object is stored; touching the same memory again is far cheaper than new memory."""

    def __init__(self, key: SessionKey, buffer: memoryview | None = None) -> None:
        salt = os.urandom(32)
        sealing, commitment = _pack_keys(key.secret, salt, key.kind, key.domain)
        header = msgspec.msgpack.encode(PackHeader(FORMAT, SUITE, key.kind, salt, commitment, key.sealed_keys))
        self.kind = key.kind
        self.rows: list[TableRow] = []
        self._gcm = AESGCM(sealing)
        self._bound = f"drbackup/1/{key.kind}/{key.domain}/".encode() + salt
        self.buffer = memoryview(bytearray(BUFFER_SIZE)) if buffer is None else buffer
        self._used = _HEADER_LENGTH.size + len(header)
        self.buffer[: self._used] = _HEADER_LENGTH.pack(PACK_MAGIC, len(header)) + header
        self.offsets: list[int] = []

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._used

    @property
    def full(self) -> bool:
        return self._used >= PACK_SIZE or len(self.rows) >= PACK_CHUNKS

    def add(self, chunk: bytes, raw: int, stored: bytes | memoryview) -> int:
        """Seal one chunk; its ordinal. ``stored`` is a zstd frame, or the plain bytes when exactly ``raw`` long: the
        length alone says which, so a frame that does not shrink must be given as plain bytes."""
        ordinal = len(self.rows)
        size = len(stored) + TAG_SIZE
        self._require_room(size)
        self.offsets.append(self._used)
        self._seal(ordinal, stored, chunk)
        self.rows.append(TableRow(chunk, size, raw))
        return ordinal

    def places(self, name: bytes) -> list[Place]:
        """Where every chunk so far lies, for a pack of that name."""
        return [
            Place(row.id, name, ordinal, offset, row.size, row.raw)
            for ordinal, (row, offset) in enumerate(zip(self.rows, self.offsets, strict=True))
        ]

    def finish(self) -> tuple[bytes, memoryview]:
        """(SHA-256, the whole object). The builder is spent."""
        table = msgspec.msgpack.encode(self.rows)
        start = self._used
        plain = struct.pack(">I", len(table)) + table
        total = start + len(plain) + TAG_SIZE + FOOTER_SIZE
        plain += bytes(_padding(total))
        self._require_room(len(plain) + 2 * FOOTER_SIZE)
        self._seal(_TABLE_NONCE, plain, b"table")
        self._seal(_FOOTER_NONCE, struct.pack(">QQ", start, len(plain) + TAG_SIZE), b"footer")
        data = self.buffer[: self._used]
        return hashlib.sha256(data).digest(), data

    def _require_room(self, size: int) -> None:
        """A pack of very many tiny chunks may have a table beyond any reserve: then memory of its own."""
        if self._used + size > len(self.buffer):
            grown = memoryview(bytearray(self._used + size + MAX_CHUNK))
            grown[: self._used] = self.buffer[: self._used]
            self.buffer = grown

    def _seal(self, nonce: int, plain: bytes | memoryview, label: bytes) -> None:
        end = self._used + len(plain) + TAG_SIZE
        with self.buffer[self._used : end] as room:
            self._gcm.encrypt_into(_nonce(nonce), plain, self._bound + nonce.to_bytes(4, "big") + label, room)
        self._used = end


class PackOpener:
    """Opens the chunks of one pack. Built from the pack's first bytes; needs no table for chunks a tree names."""

    def __init__(self, head: bytes, domain: str, keyring: Keyring, what: str) -> None:
        """``head``: at least the header (:data:`HEADER_LIMIT` bytes are always enough). Raises
        :class:`ObjectCorrupt`, :class:`FormatUnsupported` or :class:`~drbackup.errors.WrongKey`, naming ``what``."""
        header, self.header_size = read_header(head, what)
        secret = keyring.open(header.sealed_keys, key_context(header.kind, domain), what)
        sealing, commitment = _pack_keys(secret, header.salt, header.kind, domain)
        if not constant_time.bytes_eq(commitment, header.commitment):
            raise ObjectCorrupt(say("{what}: the key does not fit its commitment", what=what), where=what)
        self.header = header
        self._what = what
        self._gcm = AESGCM(sealing)
        self._bound = f"drbackup/1/{header.kind}/{domain}/".encode() + header.salt

    def open(self, ordinal: int, sealed: bytes | memoryview, chunk: bytes) -> bytes:
        """A chunk's stored bytes (still compressed). Raises :class:`ObjectCorrupt`."""
        return self._open(ordinal, sealed, chunk)

    def open_into(self, ordinal: int, sealed: bytes | memoryview, chunk: bytes, into: memoryview) -> None:
        """The same, decrypted into memory of exactly its length. Raises :class:`ObjectCorrupt`."""
        bound = self._bound + ordinal.to_bytes(4, "big") + chunk
        try:
            self._gcm.decrypt_into(_nonce(ordinal), sealed, bound, into)
        except (InvalidTag, ValueError) as bad:
            raise self._altered(ordinal) from bad

    def table(self, data: bytes | memoryview) -> list[tuple[TableRow, int]]:
        """(row, offset) of every chunk, from the whole pack. Raises :class:`ObjectCorrupt`."""
        footer = self._open(_FOOTER_NONCE, data[-FOOTER_SIZE:], b"footer")
        start, size = struct.unpack(">QQ", footer)
        plain = self._open(_TABLE_NONCE, data[start : start + size], b"table")
        length = int.from_bytes(plain[:4], "big")  # sealed by whoever wrote the pack, so it may still be nonsense
        try:
            rows = _TABLE.decode(plain[4 : 4 + length])
        except UNREADABLE as bad:
            raise ObjectCorrupt(
                say("{what}: its table can't be read: {why}", what=self._what, why=bad), where=self._what
            ) from bad
        found = []
        offset = self.header_size
        for row in rows:
            found.append((row, offset))
            offset += row.size
        return found

    def _open(self, nonce: int, sealed: bytes | memoryview, label: bytes) -> bytes:
        try:
            return self._gcm.decrypt(_nonce(nonce), sealed, self._bound + nonce.to_bytes(4, "big") + label)
        except (InvalidTag, ValueError) as bad:
            raise self._altered(nonce) from bad

    def _altered(self, nonce: int) -> ObjectCorrupt:
        return ObjectCorrupt(
            say("{what}: chunk {nonce} was altered or is not its own", what=self._what, nonce=nonce), where=self._what
        )


def read_header(head: bytes, what: str) -> tuple[PackHeader, int]:
    """(header, its size with magic and length). Raises :class:`ObjectCorrupt` or :class:`FormatUnsupported`."""
    if len(head) < _HEADER_LENGTH.size:
        raise ObjectCorrupt(say("{what}: {n} bytes are too few for a pack", what=what, n=len(head)), where=what)
    magic, length = _HEADER_LENGTH.unpack_from(head)
    if magic != PACK_MAGIC:
        raise ObjectCorrupt(
            say(
                "{what}: starts with {magic} instead of {pack_magic}",
                what=what,
                magic=repr(magic),
                pack_magic=repr(PACK_MAGIC),
            ),
            where=what,
        )
    end = _HEADER_LENGTH.size + length
    if end > min(len(head), HEADER_LIMIT):
        raise ObjectCorrupt(say("{what}: a header of {length} bytes", what=what, length=length), where=what)
    try:
        header = msgspec.msgpack.decode(head[_HEADER_LENGTH.size : end], type=PackHeader)
    except UNREADABLE as bad:
        raise ObjectCorrupt(say("{what}: its header can't be read: {why}", what=what, why=bad), where=what) from bad
    if header.format != FORMAT or header.suite != SUITE or header.kind not in PACK_KINDS:
        raise FormatUnsupported(
            say(
                "{what}: format {format}, suite {suite}, kind {kind}",
                what=what,
                format=header.format,
                suite=header.suite,
                kind=repr(header.kind),
            ),
            where=what,
        )
    return header, end


def unpack(stored: bytes, raw: int, inflate: zstandard.ZstdDecompressor) -> bytes:
    """A chunk's plain bytes from what was sealed. ``raw`` bounds the memory. Raises ``zstandard.ZstdError``."""
    if len(stored) == raw:
        return stored
    # The library takes a frame's own word for its size before ours: 32 KiB of it could ask for all memory.
    claimed = zstandard.get_frame_parameters(stored).content_size
    if claimed not in (raw, zstandard.CONTENTSIZE_UNKNOWN):
        raise zstandard.ZstdError(f"the frame claims {claimed} bytes instead of {raw}")
    plain: bytes = inflate.decompress(stored, max_output_size=raw)
    return plain
