"""What an S3 server's answer means: which error class, and whether the same request may succeed a moment later.

The one table for both sides: the controller's :mod:`drbackup.stores.s3.store` and the agent's
:mod:`drbackup.stores.s3.signed`.
"""

from __future__ import annotations

import email.utils
import os
import re
import time

from drbackup.errors import (
    DrbackupError,
    ObjectCorrupt,
    ObjectExists,
    ObjectMissing,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
    say,
)
from drbackup.stores.retry import TryAgain

_FULL_CODES = {
    "QuotaExceeded",  # Ceph, with status 403
    "StorageQuotaExceeded",
    "BucketQuotaExceeded",
    "InsufficientStorage",
    "InsufficientStorageSpace",
    "InsufficientCapacity",
    "XMinioStorageFull",
    "StorageFull",
}
_FULL_WORDS = re.compile(r"no space left|no writable volumes|no free volumes|disk full|quota exceeded", re.IGNORECASE)
_MISSING_CODES = {"NoSuchKey", "NoSuchVersion"}
_PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}
_PASSING_CODES = {
    "SlowDown",
    "RequestTimeout",
    "InternalError",
    "ServiceUnavailable",
    "ConditionalRequestConflict",  # 409: two conditional writes at once; one of them is now decided
    "OperationAborted",
}
_MANGLED_CODES = {"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody"}
_CLOCK_CODES = {"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"}
_CLOCK_HINT = "this host's clock and the store's differ too much: set up NTP, then run again"
_CLOCK_LIMIT = 300.0  # seconds: servers refuse signatures at 900
_XML_FIELD = "<{0}>(.*?)</{0}>"


def read_error(body: bytes) -> tuple[str, str]:
    """(code, message) of an S3 error document; empty strings when the body is something else."""
    text = body[:65_536].decode("utf-8", "replace")
    found = [re.search(_XML_FIELD.format(field), text, re.DOTALL) for field in ("Code", "Message")]
    code, message = (match.group(1).strip() if match else "" for match in found)
    return code, message


def error_for(status: int, code: str, message: str, name: str) -> DrbackupError | TryAgain:
    """The error to raise for an answer that is no success: :class:`TryAgain` when the fault may pass.

    ``code`` and ``message`` are the error document's; ``name`` is the object's. Whether there is room is judged before
    rights, because some servers say "quota exceeded" with status 403.
    """
    said = " ".join(part for part in (str(status), code, message) if part)
    if status == 507 or code in _FULL_CODES or _FULL_WORDS.search(message):
        return StoreFull(say("no room for {name}: {said}", name=name, said=said), where=name)
    if code in _MISSING_CODES or (status in (404, 405) and not code.startswith("NoSuchB")):
        return ObjectMissing(say("no object {name}", name=name), where=name)
    if status == 412:
        return ObjectExists(say("{name} exists already", name=name), where=name)
    if status == 416:
        return ObjectCorrupt(say("{name} is shorter than the range asked for", name=name), where=name)
    if code in _MANGLED_CODES:
        return TryAgain(
            StoreUnavailable(
                say("the bytes of {name} changed on the way to the store: {said}", name=name, said=said), where=name
            )
        )
    if code in _CLOCK_CODES or "expired" in message.lower():
        return StoreRefused(say("{name}: {said}", name=name, said=said), where=name, hint=_CLOCK_HINT)
    if status in _PASSING_STATUS or code in _PASSING_CODES:
        return TryAgain(StoreUnavailable(say("{name}: the store answers {said}", name=name, said=said), where=name))
    if code == "NoSuchBucket":
        return StoreRefused(
            say("{name}: {said}", name=name, said=said), where=name, hint="check bucket and endpoint in inventory.yaml"
        )
    if status >= 500:
        return TryAgain(StoreUnavailable(say("{name}: the store answers {said}", name=name, said=said), where=name))
    return StoreRefused(say("{name}: {said}", name=name, said=said), where=name)


def blame_clock(error: DrbackupError | TryAgain, date: str | None) -> DrbackupError | TryAgain:
    """The same error, or one that names the clock: when the store refused and its ``Date`` is more than 300 s off.

    An answer to HEAD has no document that could name this reason.
    """
    if not isinstance(error, StoreRefused) or not date:
        return error
    try:
        apart = email.utils.parsedate_to_datetime(date).timestamp() - time.time()
    except ValueError:
        return error
    if abs(apart) > _CLOCK_LIMIT:
        return StoreRefused(
            say("{what}; the store's clock is {apart} s from this host's", what=error.said, apart=f"{apart:+.0f}"),
            where=error.where,
            hint=_CLOCK_HINT,
        )
    return error


def require_authority(ca_file: str) -> None:
    """A certificate authority's file that can be read, or none named. Raises StoreRefused: no retry would help."""
    if ca_file and not os.access(ca_file, os.R_OK):
        raise StoreRefused("can't read the file of the store's certificate authority", where=ca_file)
