"""What every store promises: the interface :class:`Store`, and the rules for names of objects.

A store keeps immutable bytes under plain names, like ``v1/d/<domain>/p/<sha256>``. A name has letters, digits and
``. _ = + @ -``, in segments between slashes. No segment is empty, ``.`` or ``..``. The methods of a store raise only
classes of :mod:`drbackup.errors`; everything else is a bug.
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
    """``name`` itself when it is a valid object name. Raises :class:`UsageError` otherwise.

    A segment begins with a letter, digit or underscore, so ``..`` and hidden names can't be formed. It has at most 255
    characters, because some stores are folder trees.
    """
    if not _NAME.fullmatch(name) or any(len(part) > 255 for part in name.split("/")):
        raise UsageError(say("not an object name: {name}", name=repr(name)))
    return name


def require_prefix(prefix: str) -> str:
    """``prefix`` itself when it is valid for :meth:`Store.list`: whole segments, then the start of one, or nothing.

    Raises :class:`UsageError` otherwise, so that no prefix can lead out of a store.
    """
    head = prefix.rstrip("/") if prefix.endswith("/") and not prefix.endswith("//") else prefix
    if head:
        require_name(head)
    elif prefix:
        raise UsageError(say("not a prefix of object names: {prefix}", prefix=repr(prefix)))
    return prefix


def digest_in_name(name: str) -> bytes | None:
    """The SHA-256 that an object's name promises by its last 64 characters; None for a name without one."""
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
    """One stored object: its name, size and time."""

    name: str
    size: int  # bytes
    stored_at: datetime | None = None  # aware UTC, by the store's own clock


class SignedPut(msgspec.Struct, frozen=True):
    """A single upload that somebody without a credential may do: exactly these headers, exactly these bytes."""

    url: str  # a secret for as long as it is valid
    headers: Mapping[str, str]  # header name → value, all of them signed


@runtime_checkable
class Store(Protocol):
    """Create-once object storage.

    Obligations of every implementation, held by ``tests/contract/test_stores.py``:

    * :meth:`put` returns only when the bytes are durable: after fsync, or after the server's 2xx with a checksum that
      the server compared. The same bytes under the same name again succeed, as in a retry after a lost answer. Other
      bytes raise :class:`~drbackup.errors.ObjectExists` and change nothing. Of two racing writers exactly one wins, and
      its object is whole. A crash midway leaves either no object of that name or a complete one.
    * :meth:`get` returns exactly the bytes asked for, or raises. It raises :class:`ObjectMissing`, and
      :class:`ObjectCorrupt` when the range reaches past the end. A whole read (no offset, no length) of a name that
      ends in a SHA-256 (:func:`digest_in_name`) is compared with it. Other bytes raise :class:`ObjectCorrupt` and are
      never returned.
    * Scrub is made of :meth:`check`, and repair of :meth:`repair`. Neither ever takes good bytes away.
    * No method deletes.
    * A fault that may pass is retried inside, with growing waits, within the store's limits
      (:class:`~drbackup.stores.retry.RetryLimits`). Then :class:`StoreUnavailable` is raised. A store without room
      raises :class:`StoreFull`.
    """

    name: str

    def put(self, name: str, data: bytes | memoryview) -> None:
        """A durable object: when this returns, ``name`` holds ``data`` even after a power cut.

        Raises :class:`ObjectExists` when the name holds other bytes, :class:`StoreFull`, :class:`StoreUnavailable`,
        :class:`StoreRefused`.
        """
        ...

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """The bytes ``[offset, offset+length)``; to the end when ``length`` is None."""
        ...

    def check(self, name: str) -> int:
        """The size in bytes of an object whose every byte was read back and compared with its name.

        Memory is bounded. A name that promises no SHA-256 is only read. Raises :class:`ObjectMissing`. Raises
        :class:`ObjectCorrupt` for other bytes than the name promises, and for an object on a bad sector, which the
        store has but can't read.
        """
        ...

    def repair(self, name: str, data: bytes | memoryview) -> None:
        """A whole object: ``name`` gives back ``data`` again, durably as after :meth:`put`, whatever lay there before.

        Before, there may be damaged bytes, nothing, or something that hides the object. It is set aside as evidence
        where the store can: as a hidden file, or as an older version. When the name gives ``data`` already, nothing is
        written. A crash midway leaves what was there before, or ``data``. Raises :class:`ObjectCorrupt`, and changes
        nothing, when the name promises other bytes than ``data``. For a name without a hash, the caller must know that
        ``data`` is right.
        """
        ...

    def stat(self, name: str) -> Stat | None:
        """The size of one object, None when there is none. Every completed :meth:`put` is seen at once."""
        ...

    def list(self, prefix: str) -> Iterator[Stat]:
        """Every object whose name starts with ``prefix``, in no promised order."""
        ...

    def sign_put(self, name: str, size: int, sha256: bytes) -> SignedPut | None:
        """A signed upload of exactly ``size`` bytes with that SHA-256 (32 bytes), create-once and valid for minutes.

        None: this store can't sign (a folder), so the bytes go over the wire.
        """
        ...

    def sign_get(self, name: str) -> str | None:
        """A URL that reads any range of this object, valid for minutes; None when the store can't sign."""
        ...
