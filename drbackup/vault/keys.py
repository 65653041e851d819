"""The vault's keys: who can open, who can sign, and what a writer is given.

Owns key generation from 32-byte seeds, HPKE sealing of small secrets, and Ed25519 signing. A seed is short, so it fits
on one line, in a systemd credential or on a custodian's paper. The recovery key's shares are in
:mod:`drbackup.vault.custody`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import ed25519, mlkem, x25519

from drbackup.errors import ObjectCorrupt, SignatureInvalid, UsageError, WrongKey, say
from drbackup.vault.suite import KEY_SIZE, derive
from drbackup.wire.specs import DomainKeys, Recipient, Secret

RECOVERY, DRILL, CATALOG = "recovery", "drill", "catalog"
ROLES = (RECOVERY, DRILL, CATALOG)
_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
_MLKEM_PUBLIC = 1184


def new_seed() -> bytes:
    """A new seed: 32 random bytes from the operating system's generator."""
    return os.urandom(KEY_SIZE)


def key_id(public: bytes) -> bytes:
    """The id of a public key, eight bytes of a SHA-256. It tells keys apart in headers."""
    return hashlib.sha256(b"drbackup/1/key-id\0" + public).digest()[:8]


class SealKey:
    """A private key that opens what was sealed to its :attr:`recipient`.

    ML-KEM-768 and X25519 together, both derived from one 32-byte seed. Raises :class:`UsageError` for another length
    or a role that is not in :data:`ROLES`.
    """

    def __init__(self, role: str, seed: bytes) -> None:
        if role not in ROLES or len(seed) != KEY_SIZE:
            raise UsageError(say("not a key: role {role}, {n} bytes", role=repr(role), n=len(seed)))
        kem = mlkem.MLKEM768PrivateKey.from_seed_bytes(derive(seed, "ml-kem-768", size=64))
        curve = x25519.X25519PrivateKey.from_private_bytes(derive(seed, "x25519"))
        self._private = hpke.MLKEM768X25519PrivateKey(kem, curve)
        self.recipient = Recipient(role, kem.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw())
        self.id = key_id(self.recipient.public)

    @classmethod
    def from_seed(cls, role: str, seed: bytes) -> SealKey:
        """The key pair that belongs to a 32-byte seed."""
        return cls(role, seed)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """The secret that :func:`seal_to` sealed with the same ``context``.

        Raises :class:`WrongKey` when it was sealed to another key or altered.
        """
        try:
            return _SUITE.decrypt(sealed, self._private, info=context)
        except (InvalidTag, ValueError) as bad:
            raise WrongKey(say("the {role} key does not open this", role=self.recipient.role)) from bad


def seal_to(recipient: Recipient, secret: bytes, context: bytes) -> bytes:
    """``secret`` sealed to one recipient and bound to ``context``: HPKE base mode, single shot (RFC 9180)."""
    public = hpke.MLKEM768X25519PublicKey(
        mlkem.MLKEM768PublicKey.from_public_bytes(recipient.public[:_MLKEM_PUBLIC]),
        x25519.X25519PublicKey.from_public_bytes(recipient.public[_MLKEM_PUBLIC:]),
    )
    return _SUITE.encrypt(secret, public, info=context)


class Keyring:
    """The private keys at hand, by key id."""

    def __init__(self, keys: Iterable[SealKey]) -> None:
        self._keys = {key.id: key for key in keys}

    def open(self, sealed: Sequence[tuple[bytes, bytes]], context: bytes, what: str = "") -> bytes:
        """The secret in the first of ``(key id, sealed)`` that names a key of ours. ``what``: object name, for errors.

        Raises :class:`WrongKey` if none names one. Raises :class:`ObjectCorrupt` if the named key does not open it:
        then the bytes are wrong, not the key.
        """
        for wanted, blob in sealed:
            if (key := self._keys.get(wanted)) is not None:
                try:
                    return key.open(blob, context)
                except WrongKey as bad:
                    said = say("what is sealed to the {role} key was altered", role=key.recipient.role)
                    raise ObjectCorrupt(
                        say("{what}: {said}", what=what, said=said) if what else said, where=what
                    ) from bad
        have = ", ".join(sorted(key.recipient.role for key in self._keys.values())) or "no key"
        raise WrongKey(
            say(
                "sealed to keys {sealed}; at hand: {have}",
                sealed=", ".join(wanted.hex() for wanted, _ in sealed),
                have=have,
            ),
            where=what,
        )


class SigningKey:
    """The private evidence key, which signs records and drill evidence (Ed25519, RFC 8032)."""

    def __init__(self, seed: bytes) -> None:
        self._private = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        self.public: bytes = self._private.public_key().public_bytes_raw()

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """The key that belongs to a 32-byte seed."""
        return cls(seed)

    def sign(self, data: bytes) -> bytes:
        """The signature over ``data``, 64 bytes."""
        return self._private.sign(data)


def verify(public: bytes, data: bytes, signature: bytes, what: str = "object") -> None:
    """A check that ``signature`` (64 bytes) is that of ``public`` (32 bytes) over ``data``.

    Raises :class:`SignatureInvalid`, naming ``what``, when it is not.
    """
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError) as bad:
        raise SignatureInvalid(
            say("{what}: the signature does not fit the vault's evidence key", what=what), where=what
        ) from bad


def domain_keys(root_secret: bytes, domain: str, recipients: Iterable[Recipient], epoch: int = 0) -> DomainKeys:
    """The keys that one domain's agent is given for a session. ``root_secret``: the installation's, 32 bytes.

    Another ``epoch`` (a number) gives chunks other names, so nothing sent in an earlier one is found or relied upon
    again. It is for a server that an attacker had: chunks stored from there may not hold what their names say. No
    domain's name has a NUL in it, so no two contexts are equal.
    """
    context = f"{domain}\0{epoch}".encode() if epoch else domain.encode()
    return DomainKeys(
        domain=domain,
        chunk_id_key=Secret(derive(root_secret, "chunk-id", context=context)),
        cut_key=Secret(derive(root_secret, "cut", context=context)),
        recipients=tuple(recipients),
    )
