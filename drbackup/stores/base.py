"""What every store promises.

A store keeps immutable bytes under plain names (``v1/d/<domain>/p/<sha256>``: letters, digits, ``. - _ /``; no empty,
``.`` or ``..`` segment). Its methods raise only classes of :mod:`drbackup.errors`; everything else is a bug.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Protocol, runtime_checkable

import msgspec

from drbackup.errors import ObjectCorrupt, UsageError, say

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+@-]*(/[A-Za-z0-9_][A-Za-z0-9._=+@-]*)*")
_HASHED = re.compile(r"(?:.*[/-])?([0-9a-f]{64})")


def require_name(name: str) -> str:
    """``name`` itself when a store may carry it. Raises :class:`UsageError` otherwise.

    Segments start with a letter, digit or underscore, so ``..`` and hidden names can't be formed; at most 255
    characters a segment because some stores are folder trees underneath.
    """
    if not _NAME.fullmatch(name) or any(len(part) > 255 for part in name.split("/")):
        raise UsageError(say("not an object name: {name}", name=repr(name)))
    return name


def require_prefix(prefix: str) -> str:
    """``prefix`` itself when :meth:`Store.list` may take it: whole segments, then the start of one, or nothing.

    Raises :class:`UsageError` otherwise, so that no prefix can climb out of a store.
    """
    head = prefix.rstrip("/") if prefix.endswith("/") and not prefix.endswith("//") else prefix
    if head:
        require_name(head)
    elif prefix:
        raise UsageError(say("not a prefix of object names: {prefix}", prefix=repr(prefix)))
    return prefix


def digest_in_name(name: str) -> bytes | None:
    """The SHA-256 an object's name promises (its last 64 characters), None for names that promise nothing."""
    found = _HASHED.fullmatch(name)
    return bytes.fromhex(found.group(1)) if found else None


def require_match(name: str, data: bytes | memoryview) -> bytes:
    """The SHA-256 of ``data``. Raises :class:`ObjectCorrupt` when ``name`` promises another one."""
    digest = hashlib.sha256(data).digest()
    if digest_in_name(name) not in (None, digest):
        raise ObjectCorrupt(say("these are not the bytes that {name} promises", name=name), where=name)
    return digest


def past_the_end(name: str, size: int, offset: int, length: int | None) -> ObjectCorrupt:
    """The error for a range that an object of ``size`` bytes does not have."""
    wanted = "the end" if length is None else f"byte {offset + length}"
    return ObjectCorrupt(
        say(
            "{name} has {size} bytes, but {wanted} after byte {offset} was asked for",
            name=name,
            size=size,
            wanted=wanted,
            offset=offset,
        ),
        where=name,
    )


class Stat(msgspec.Struct, frozen=True):
    """One stored object. ``size`` in bytes."""

    name: str
    size: int
    stored_at: datetime | None = None


class SignedPut(msgspec.Struct, frozen=True):
    """A single upload that somebody without a credential may do: exactly these headers, exactly these bytes."""

    url: str
    headers: Mapping[str, str]


@runtime_checkable
class Store(Protocol):
    """Create-once object storage.

    Obligations of every implementation, held by ``tests/contract/test_stores.py``:

    * :meth:`put` returns only when the bytes are durable (fsync, or the server's 2xx with a checksum the server
      compared). Putting the same bytes under the same name again succeeds (a retry after a lost answer); other bytes
      raise :class:`~drbackup.errors.ObjectExists` and change nothing. Of two racing writers one wins, whole.
      A crash midway leaves either no object of that name or a complete one.
    * :meth:`get` returns exactly the bytes asked for, or raises: :class:`ObjectMissing`, :class:`ObjectCorrupt` when
      the range reaches past the end. A whole read (no offset, no length) of a name that ends in a SHA-256
      (:func:`digest_in_name`) is compared with it: other bytes are :class:`ObjectCorrupt`, never handed out.
    * :meth:`check` and :meth:`mend` are what scrub and repair are made of. Neither ever takes good bytes away.
    * No method deletes.
    * Transient faults are retried inside, with backoff, up to the store's ``timeout`` (seconds); then
      :class:`StoreUnavailable`. A store without room raises :class:`StoreFull`.
    """

    name: str

    def put(self, name: str, data: bytes | memoryview) -> None: ...

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes ``[offset, offset+length)``; to the end when ``length`` is None."""
        ...

    def check(self, name: str) -> int:
        """Read every byte of an object back, in bounded memory, and compare it with its name; its size in bytes.

        Raises :class:`ObjectMissing`; :class:`ObjectCorrupt` for other bytes than the name promises, and for an object
        the store has but can't read (a bad sector). A name that promises nothing is only read.
        """
        ...

    def repair(self, name: str, data: bytes | memoryview) -> None:
        """Make ``name`` give back ``data``, whatever lies there: damaged bytes, nothing, something hiding it.

        Raises :class:`ObjectCorrupt`, and changes nothing, when the name promises other bytes than ``data``. When it
        gives ``data`` already, nothing is written. Otherwise returns when ``data`` is durable, as :meth:`put` does.
        What lay there is set aside as evidence where the store can (a hidden file; an older version). A crash midway
        leaves what was there before, or ``data``; for an unhashed name the caller answers for ``data`` being right.
        """
        ...

    def stat(self, name: str) -> Stat | None:
        """Size of one object, None when there is none. Sees every completed :meth:`put` at once."""
        ...

    def list(self, prefix: str) -> Iterator[Stat]:
        """Every object whose name starts with ``prefix``, in no promised order."""
        ...

    def sign_put(self, name: str, size: int, sha256: bytes) -> SignedPut | None:
        """A signed upload of exactly ``size`` bytes with that SHA-256 digest, create-once and valid for minutes.

        None: this store can't sign (a folder); the bytes then go through the wire.
        """
        ...

    def sign_get(self, name: str) -> str | None:
        """A URL that reads this object (``Range`` is free) for minutes; None when the store can't sign."""
        ...
