"""Packs: many sealed chunks in one immutable object, named by the SHA-256 of its bytes.

Layout, in this order:

- a header in the clear: magic, format, suite, kind, salt, key commitment, sealed data keys;
- the sealed chunks;
- the sealed table of the chunks;
- a sealed footer of 32 bytes, which says where the table begins.

Nothing in the clear tells a length, and the table is padded so that the size of the whole object says little. A pack
needs no other object: the pack and a private key are enough to read everything in it.

A nonce is the ordinal of what it seals, under a key that seals one pack only, so none repeats. That key is HKDF of the
session's data key and a random salt. The commitment makes a pack that would open under two keys fail, because GCM alone
does not commit to its key.
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
PACK_SIZE = 34 << 20  # bytes that close a pack: larger ones need fewer requests, but a writer has three in memory
PACK_CHUNKS = 1 << 16  # or this many chunks: very small ones would make a table that fits into no frame
BUFFER_SIZE = PACK_SIZE + MAX_CHUNK + (8 << 20)  # room for one chunk too many and the table; only used pages cost
HEADER_LIMIT = 16 << 10  # bytes that a reader asks for first; headers are far smaller
FOOTER_SIZE = 16 + TAG_SIZE
_HEADER_LENGTH = struct.Struct(">8sI")
_TABLE_NONCE, _FOOTER_NONCE = 2**32 - 2, 2**32 - 1


class PackHeader(msgspec.Struct, frozen=True, array_like=True):
    """The clear part of a pack, as msgpack. The magic and its length (32 bits, big-endian) stand before it."""

    format: int
    suite: int
    kind: str  # one of PACK_KINDS
    salt: bytes  # 32 random bytes
    commitment: bytes  # to the pack's key, 32 bytes
    sealed_keys: tuple[tuple[bytes, bytes], ...]  # (key id, HPKE sealed data key)


class TableRow(msgspec.Struct, frozen=True, array_like=True):
    """One chunk in a pack's table. The rows stand in the order of the chunks' ordinals."""

    id: Digest  # the chunk's name: keyed BLAKE3, 32 bytes
    size: int  # sealed bytes, tag included
    raw: int  # plain bytes


_TABLE = msgspec.msgpack.Decoder(Annotated[list[TableRow], msgspec.Meta(max_length=PLACES)])


class SessionKey(msgspec.Struct, frozen=True):
    """One session's data key for one kind of pack, and its sealed forms for the headers."""

    kind: str  # one of PACK_KINDS
    domain: str
    secret: bytes  # 32 bytes
    sealed_keys: tuple[tuple[bytes, bytes], ...]  # (key id, HPKE sealed secret), one a recipient

    @classmethod
    def new(cls, kind: str, keys: DomainKeys) -> SessionKey:
        """A fresh random key, sealed to the recipients who may open this kind of pack.

        The writer forgets it when the session ends, so a later compromise can't read what was written before.
        """
        secret = os.urandom(KEY_SIZE)
        roles = RECIPIENT_ROLES[kind]
        sealed = tuple(
            (key_id(each.public), seal_to(each, secret, key_context(kind, keys.domain)))
            for each in keys.recipients
            if each.role in roles
        )
        return cls(kind, keys.domain, secret, sealed)


def key_context(kind: str, domain: str) -> bytes:
    """The context that a sealed data key is bound to: the kind and the domain of its packs."""
    return f"drbackup/1/data-key/{kind}/{domain}".encode()


def _nonce(ordinal: int) -> bytes:
    return ordinal.to_bytes(12, "big")


def _pack_keys(secret: bytes, salt: bytes, kind: str, domain: str) -> tuple[bytes, bytes]:
    """(sealing key, commitment) of one pack."""
    context = f"{kind}/{domain}".encode()
    both = derive(secret, "pack", salt=salt, context=context, size=2 * KEY_SIZE)
    return both[:KEY_SIZE], both[KEY_SIZE:]


def _padding(size: int) -> int:
    """The bytes to add so that the size of an object of ``size`` bytes tells little.

    The steps are those of Padmé (Nikitin et al., PETS 2019), but at most 64 KiB: full packs are nearly of one size.
    """
    exponent = max(size.bit_length() - 1, 1)
    step = 1 << max(exponent - exponent.bit_length(), 0)
    return -size % min(step, 64 << 10)


class PackBuilder:
    """One open pack, to which chunks are added. Not thread-safe: its owner holds a mutex around :meth:`add`.

    ``buffer``: writable memory of at least :data:`BUFFER_SIZE` bytes. Another builder may use it again once this pack
    is stored: memory that was touched before costs far less than new memory.
    """

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
        """The bytes of the pack so far, without its table."""
        return self._used

    @property
    def full(self) -> bool:
        """Whether the pack holds enough bytes or chunks to be closed."""
        return self._used >= PACK_SIZE or len(self.rows) >= PACK_CHUNKS

    def add(self, chunk: bytes, raw: int, stored: bytes | memoryview) -> int:
        """The ordinal of a chunk that is sealed into the pack. ``chunk``: its name; ``raw``: its plain size in bytes.

        ``stored`` is a zstd frame, or the plain bytes when it is exactly ``raw`` bytes long. Its length alone says
        which, so a chunk whose frame is not smaller must be given as plain bytes.
        """
        ordinal = len(self.rows)
        size = len(stored) + TAG_SIZE
        self._require_room(size)
        self.offsets.append(self._used)
        self._seal(ordinal, stored, chunk)
        self.rows.append(TableRow(chunk, size, raw))
        return ordinal

    def places(self, name: bytes) -> list[Place]:
        """The places of all chunks so far, for a pack of that name (32 bytes)."""
        return [
            Place(row.id, name, ordinal, offset, row.size, row.raw)
            for ordinal, (row, offset) in enumerate(zip(self.rows, self.offsets, strict=True))
        ]

    def finish(self) -> tuple[bytes, memoryview]:
        """(SHA-256, the whole object). Nothing can be added afterwards. The object lies in the builder's buffer."""
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
        """Larger memory where the buffer has no room: the table of very many tiny chunks has no useful bound."""
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
    """The key of one pack, ready to open its chunks. Made from the pack's first bytes.

    Chunks that a tree names are opened without the pack's table.
    """

    def __init__(self, head: bytes, domain: str, keyring: Keyring, what: str) -> None:
        """``head`` holds at least the header; :data:`HEADER_LIMIT` bytes are always enough.

        Raises :class:`ObjectCorrupt`, :class:`FormatUnsupported` or :class:`~drbackup.errors.WrongKey`, all naming
        ``what``.
        """
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
        """A chunk's stored bytes, authenticated and decrypted, still compressed. Raises :class:`ObjectCorrupt`."""
        return self._open(ordinal, sealed, chunk)

    def open_into(self, ordinal: int, sealed: bytes | memoryview, chunk: bytes, into: memoryview) -> None:
        """The same bytes, decrypted into memory of exactly their length. Raises :class:`ObjectCorrupt`."""
        bound = self._bound + ordinal.to_bytes(4, "big") + chunk
        try:
            self._gcm.decrypt_into(_nonce(ordinal), sealed, bound, into)
        except (InvalidTag, ValueError) as bad:
            raise self._altered(ordinal) from bad

    def table(self, data: bytes | memoryview) -> list[tuple[TableRow, int]]:
        """(row, offset in bytes) of every chunk. ``data``: the whole pack. Raises :class:`ObjectCorrupt`."""
        footer = self._open(_FOOTER_NONCE, data[-FOOTER_SIZE:], b"footer")
        start, size = struct.unpack(">QQ", footer)
        plain = self._open(_TABLE_NONCE, data[start : start + size], b"table")
        length = int.from_bytes(plain[:4], "big")  # the writer of the pack sealed it, so it may still be nonsense
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
    """(header, its size in bytes with magic and length). ``head``: the first bytes of the pack.

    Raises :class:`ObjectCorrupt` or :class:`FormatUnsupported`, both naming ``what``.
    """
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
    """A chunk's plain bytes, from its stored bytes. At most ``raw`` bytes, whatever the zstd frame claims.

    Raises ``zstandard.ZstdError``.
    """
    if len(stored) == raw:
        return stored
    # The library believes the frame's own size before ours: a frame of 32 KiB could ask for all memory.
    claimed = zstandard.get_frame_parameters(stored).content_size
    if claimed not in (raw, zstandard.CONTENTSIZE_UNKNOWN):
        raise zstandard.ZstdError(f"the frame claims {claimed} bytes instead of {raw}")
    plain: bytes = inflate.decompress(stored, max_output_size=raw)
    return plain
