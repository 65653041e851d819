"""Cipher suite 1 and the labels that keep its uses apart.

Suite 1: HPKE (RFC 9180) with ML-KEM-768/X25519 and HKDF-SHA-256 seals data keys, AES-256-GCM seals chunks, HKDF-SHA-256
derives, keyed BLAKE3 names chunks, SHA-256 names objects, zstd compresses, Ed25519 signs. The suite's number stands in
every header so that another suite (SM4-GCM, SM3, SM2) can be added without touching old objects.
"""

from __future__ import annotations

from typing import Final

from blake3 import blake3
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FORMAT: Final = 1
SUITE: Final = 1
KEY_SIZE: Final = 32
TAG_SIZE: Final = 16
MAX_CHUNK: Final = 16 << 20  # plain bytes of one chunk; a reader refuses more before it takes memory


def derive(secret: bytes, label: str, *, salt: bytes = b"", context: bytes = b"", size: int = KEY_SIZE) -> bytes:
    """HKDF-SHA-256 (RFC 5869) with ``info`` = ``drbackup/1/<label>`` NUL ``context``."""
    info = b"drbackup/1/" + label.encode() + b"\0" + context
    return HKDF(algorithm=hashes.SHA256(), length=size, salt=salt or None, info=info).derive(secret)


def chunk_id(key: bytes, data: bytes | memoryview) -> bytes:
    """A chunk's name inside its domain: keyed BLAKE3 of its plain bytes, 32 bytes."""
    digest: bytes = blake3(data, key=key).digest()
    return digest


def content_digest(data: bytes | memoryview) -> bytes:
    """BLAKE3 of a whole content, 32 bytes; kept inside sealed trees only."""
    digest: bytes = blake3(data).digest()
    return digest
