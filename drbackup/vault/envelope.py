"""Small secrets sealed to several recipients at once, and small objects signed by the evidence key.

What is sealed is bound to a context, so it opens in its own place only. A signature covers the object's magic, so an
object of one kind never passes for another.
"""

from __future__ import annotations

import os

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from drbackup.errors import FormatUnsupported, ObjectCorrupt, say
from drbackup.vault.keys import Keyring, SigningKey, key_id, seal_to, verify
from drbackup.vault.suite import KEY_SIZE, SUITE
from drbackup.wire.decode_errors import UNREADABLE
from drbackup.wire.specs import Recipient


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    suite: int  # of ciphers, see drbackup.vault.suite
    sealed_keys: tuple[tuple[bytes, bytes], ...]  # (key id, HPKE sealed data key)
    sealed: bytes  # AES-256-GCM, nonce 0: the key is used once


class _Signed(msgspec.Struct, frozen=True, array_like=True):
    body: bytes
    signer: bytes  # key id of the evidence key
    signature: bytes


def seal_envelope(recipients: tuple[Recipient, ...], plain: bytes, context: bytes) -> bytes:
    """``plain`` sealed so that any one of ``recipients`` can open it, bound to ``context``."""
    key = os.urandom(KEY_SIZE)
    keys = tuple((key_id(each.public), seal_to(each, key, context)) for each in recipients)
    return msgspec.msgpack.encode(_Envelope(SUITE, keys, AESGCM(key).encrypt(bytes(12), plain, context)))


def open_envelope(keyring: Keyring, blob: bytes, context: bytes) -> bytes:
    """The plain bytes of what :func:`seal_envelope` sealed with the same ``context``.

    Raises :class:`~drbackup.errors.WrongKey` when no key at hand is among its recipients. Raises
    :class:`ObjectCorrupt` when it was altered, and :class:`FormatUnsupported` for another suite.
    """
    try:
        envelope = msgspec.msgpack.decode(blob, type=_Envelope)
    except UNREADABLE as bad:
        raise ObjectCorrupt(say("a sealed part can't be read: {why}", why=bad)) from bad
    if envelope.suite != SUITE:
        raise FormatUnsupported(
            say("sealed with suite {suite}; this program knows suite {ours}", suite=envelope.suite, ours=SUITE)
        )
    key = keyring.open(envelope.sealed_keys, context)
    try:
        return AESGCM(key).decrypt(bytes(12), envelope.sealed, context)
    except (InvalidTag, ValueError) as bad:  # also: anybody may seal to a public key, and no key of 32 bytes
        raise ObjectCorrupt("a sealed part was altered") from bad


def sign_object(magic: bytes, body: bytes, signer: SigningKey) -> bytes:
    """The signed object: ``magic`` (8 bytes), then a msgpack array of body, signer's key id and signature.

    The signature covers magic and body.
    """
    return magic + msgspec.msgpack.encode(_Signed(body, key_id(signer.public), signer.sign(magic + body)))


def open_signed(magic: bytes, data: bytes, public: bytes, what: str) -> bytes:
    """The body of a signed object, once its signature by ``public`` (32 bytes) is checked.

    With ``public`` empty only the form is checked: the body may hold the very key that the caller needs. Raises
    :class:`ObjectCorrupt` or :class:`~drbackup.errors.SignatureInvalid`, both naming ``what``.
    """
    if data[: len(magic)] != magic:
        raise ObjectCorrupt(
            say("{what}: starts with {data} instead of {magic}", what=what, data=repr(data[:8]), magic=repr(magic)),
            where=what,
        )
    try:
        signed = msgspec.msgpack.decode(data[len(magic) :], type=_Signed)
    except UNREADABLE as bad:
        raise ObjectCorrupt(say("{what}: can't be read: {why}", what=what, why=bad), where=what) from bad
    if public:
        verify(public, magic + signed.body, signed.signature, what)
    return signed.body
