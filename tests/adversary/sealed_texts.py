"""Every sealed text in produced objects, with the key and nonce that sealed it. Follows docs/vault-format.md and shares
no code with ``drbackup/vault``: what would use a nonce twice would also hide that it does."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from drbackup.reader.stranger import Key, derive, unpack

TABLE, FOOTER = 2**32 - 2, 2**32 - 1


@dataclass(frozen=True)
class SealedText:
    """One use of AES-GCM. ``where``: object and what of it."""

    where: str
    key: bytes
    nonce: int
    text: bytes
    sealed: bytes


@dataclass(frozen=True)
class SeenPack:
    """One pack taken apart. ``secret``: the data key of the run that made it."""

    kind: str
    secret: bytes
    salt: bytes
    sealed_keys: tuple[bytes, ...]
    texts: tuple[SealedText, ...]


def take_apart(data: bytes, domain: str, key: Key, where: str) -> SeenPack:
    """Everything sealed in a pack; fails when anything is not where the format says."""
    magic, size = struct.unpack(">8sI", data[:12])
    assert magic == b"DRBKPAC1"
    _, suite, kind, salt, commitment, sealed_keys = unpack(data[12 : 12 + size])
    assert suite == 1
    assert len(salt) == 32
    secret = key.open(sealed_keys, f"drbackup/1/data-key/{kind}/{domain}".encode())
    both = derive(secret, "pack", 64, salt, f"{kind}/{domain}".encode())
    assert both[32:] == commitment
    bound = f"drbackup/1/{kind}/{domain}/".encode() + salt
    cipher = AESGCM(both[:32])

    def open_at(start: int, length: int, nonce: int, label: bytes) -> SealedText:
        sealed = data[start : start + length]
        text = cipher.decrypt(nonce.to_bytes(12, "big"), sealed, bound + nonce.to_bytes(4, "big") + label)
        return SealedText(f"{where} number {nonce}", both[:32], nonce, text, sealed)

    footer = open_at(len(data) - 32, 32, FOOTER, b"footer")
    start, length = struct.unpack(">QQ", footer.text)
    table = open_at(start, length, TABLE, b"table")
    (used,) = struct.unpack(">I", table.text[:4])
    at, texts = 12 + size, [footer, table]
    for number, (identity, sealed_size, _) in enumerate(unpack(table.text[4 : 4 + used])):
        texts.append(open_at(at, sealed_size, number, identity))
        at += sealed_size
    assert at == start
    assert start + length + 32 == len(data)  # nothing else is in the object
    return SeenPack(kind, secret, salt, tuple(blob for _, blob in sealed_keys), tuple(texts))


def open_part(part: bytes, context: bytes, keys: Iterable[Key], where: str) -> tuple[SealedText, tuple[bytes, ...]]:
    """A sealed part of a signed object, and its sealed keys."""
    _, sealed_keys, sealed = unpack(part)
    for key in keys:
        if any(wanted == key.id for wanted, _ in sealed_keys):
            secret = key.open(sealed_keys, context)
            text = AESGCM(secret).decrypt(bytes(12), sealed, context)
            return SealedText(where, secret, 0, text, sealed), tuple(blob for _, blob in sealed_keys)
    raise AssertionError(f"{where}: none of our keys opens it")


def require_unique(texts: Iterable[SealedText]) -> int:
    """No key and nonce seal two different texts, and no two texts look alike sealed; how many texts there were."""
    used: dict[tuple[bytes, int], SealedText] = {}
    seen: dict[bytes, SealedText] = {}
    for each in texts:
        twin = used.setdefault((each.key, each.nonce), each)
        assert twin is each, f"{each.where} and {twin.where} are sealed by one key and nonce"
        alike = seen.setdefault(hashlib.sha256(each.sealed).digest(), each)
        assert alike is each, f"{each.where} and {alike.where} are the same bytes"
    return len(used)


def texts_of(packs: Iterable[SeenPack]) -> Iterator[SealedText]:
    for pack in packs:
        yield from pack.texts
