"""The vault's keys: who can open, who can sign, and what a writer is given.

Owns key generation from 32-byte seeds (so that each key fits on a line, a systemd credential or a custodian's paper),
HPKE sealing of small secrets, and Ed25519 signing. The recovery key's shares are :mod:`drbackup.vault.custody`'s.
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
    """32 bytes from the operating system's generator."""
    return os.urandom(KEY_SIZE)


def key_id(public: bytes) -> bytes:
    """Eight bytes that tell keys apart in headers."""
    return hashlib.sha256(b"drbackup/1/key-id\0" + public).digest()[:8]


class SealKey:
    """A private key that opens what was sealed to its :attr:`recipient`."""

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
        """What :func:`seal_to` put in. Raises :class:`WrongKey` when it was sealed to another key or altered."""
        try:
            return _SUITE.decrypt(sealed, self._private, info=context)
        except (InvalidTag, ValueError) as bad:
            raise WrongKey(say("the {role} key does not open this", role=self.recipient.role)) from bad


def seal_to(recipient: Recipient, secret: bytes, context: bytes) -> bytes:
    """HPKE base mode, single shot: ``secret`` for one recipient, bound to ``context``."""
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
        """Open the first of ``(key id, sealed)`` that one of our keys fits. Raises :class:`WrongKey` if none does, and
        :class:`ObjectCorrupt` if what names our key does not open with it: then the bytes are wrong, not the key.
        ``what``: the object's name, for the error."""
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
    """The evidence key: signs records and drill evidence."""

    def __init__(self, seed: bytes) -> None:
        self._private = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        self.public: bytes = self._private.public_key().public_bytes_raw()

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """Ed25519 from a 32-byte seed."""
        return cls(seed)

    def sign(self, data: bytes) -> bytes:
        """64 bytes."""
        return self._private.sign(data)


def verify(public: bytes, data: bytes, signature: bytes, what: str = "object") -> None:
    """Raises :class:`SignatureInvalid`, naming ``what``, unless ``signature`` is ``public``'s over ``data``."""
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError) as bad:
        raise SignatureInvalid(
            say("{what}: the signature does not fit the vault's evidence key", what=what), where=what
        ) from bad


def domain_keys(root_secret: bytes, domain: str, recipients: Iterable[Recipient], epoch: int = 0) -> DomainKeys:
    """What one domain's agent is given for a session. ``root_secret``: the installation's 32-byte domains secret.

    Another ``epoch`` gives chunks other names, so that nothing sent in an earlier one is ever found or relied upon
    again: an enemy who had the server may have stored what does not hold what its name says. No name has a NUL in it.
    """
    context = f"{domain}\0{epoch}".encode() if epoch else domain.encode()
    return DomainKeys(
        domain=domain,
        chunk_id_key=Secret(derive(root_secret, "chunk-id", context=context)),
        cut_key=Secret(derive(root_secret, "cut", context=context)),
        recipients=tuple(recipients),
    )
