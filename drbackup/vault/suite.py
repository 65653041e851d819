"""Cipher suite 1, and the labels that keep its uses apart.

- Data keys are sealed by HPKE (RFC 9180) with ML-KEM-768/X25519 and HKDF-SHA-256.
- Chunks are compressed by zstd, sealed by AES-256-GCM and named by keyed BLAKE3.
- Keys are derived by HKDF-SHA-256.
- Objects are named by SHA-256 and signed by Ed25519.

The suite's number stands in every header. So another suite (SM4-GCM, SM3, SM2) can be added without touching old
objects.
"""

from __future__ import annotations

from typing import Final

from blake3 import blake3
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FORMAT: Final = 1
SUITE: Final = 1
KEY_SIZE: Final = 32  # bytes
TAG_SIZE: Final = 16  # bytes that AES-GCM adds
MAX_CHUNK: Final = 16 << 20  # plain bytes of one chunk; a reader refuses more before it takes memory


def derive(secret: bytes, label: str, *, salt: bytes = b"", context: bytes = b"", size: int = KEY_SIZE) -> bytes:
    """``size`` bytes by HKDF-SHA-256 (RFC 5869), with ``info`` = ``drbackup/1/<label>`` NUL ``context``."""
    info = b"drbackup/1/" + label.encode() + b"\0" + context
    return HKDF(algorithm=hashes.SHA256(), length=size, salt=salt or None, info=info).derive(secret)


def chunk_id(key: bytes, data: bytes | memoryview) -> bytes:
    """A chunk's name inside its domain: keyed BLAKE3 of its plain bytes, 32 bytes."""
    digest: bytes = blake3(data, key=key).digest()
    return digest


def content_digest(data: bytes | memoryview) -> bytes:
    """The BLAKE3 digest of a whole content, 32 bytes. It is kept inside sealed trees only."""
    digest: bytes = blake3(data).digest()
    return digest
