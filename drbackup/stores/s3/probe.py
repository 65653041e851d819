"""The trials for S3 stores alone: checksums, versions, locks, signed uploads, the clock.

They do not use :class:`S3Store`'s own methods where a trial must send something wrong.
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import hashlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import urllib3

from drbackup.errors import DrbackupError, ObjectMissing, StoreRefused, StoreUnavailable, say
from drbackup.stores.base import SignedPut
from drbackup.stores.retry import TryAgain
from drbackup.stores.s3.errors import faults_as_ours
from drbackup.stores.s3.signed import get_signed, put_signed, send_once
from drbackup.stores.s3.store import S3Store
from drbackup.stores.trial import Kept, Trial

LOCK_SECONDS = 120  # lock of the probe's own object, which can be removed soon after
CLOCK_LIMIT = 60.0  # seconds; signatures fail at 900
NOT_VERSIONED = "the bucket keeps no versions"


def s3_trials(store: S3Store, place: str, when: datetime) -> Iterator[Trial]:
    """Every trial for ``store``, writing below ``place``."""
    yield Trial("altered bytes are refused (checksum compared)", "needed", lambda: _checksum(store, f"{place}/altered"))
    yield from _signed_trials(store, f"{place}/signed")
    yield from _lock_trials(store, f"{place}/locked", when)
    yield Trial("this host's clock agrees with the store's", "useful", lambda: _clock(store))


def _checksum(store: S3Store, name: str) -> tuple[Kept, str]:
    wrong = base64.b64encode(hashlib.sha256(b"other bytes").digest()).decode()
    answer = _attempt(
        name, lambda: store.client.put_object(Bucket=store.config.bucket, Key=store.key(name), Body=b"these bytes",
                                              ChecksumSHA256=wrong)
    )  # fmt: skip
    return ("yes", "") if isinstance(answer, DrbackupError) else ("no", "bytes with a wrong SHA-256 were stored")


# --- signed uploads ----------------------------------------------------------------------------------------------


def _signed_trials(store: S3Store, place: str) -> Iterator[Trial]:
    body = b"signed upload\n" * 100
    digest = hashlib.sha256(body).digest()
    ca_file, retry = store.config.ca_file, store.config.retry

    def refused(name: str, spoil: Callable[[SignedPut], SignedPut], data: bytes) -> tuple[Kept, str]:
        signed = spoil(store.sign_put(name, len(body), digest))
        status, code = send_once(signed.url, signed.headers, data, retry=retry, ca_file=ca_file)
        if status < 300:
            return "no", f"the store took it ({status})"
        return ("yes", "") if status < 500 else ("unknown", f"the store answered {status} {code}")

    def works() -> tuple[Kept, str]:
        signed = store.sign_put(f"{place}/good", len(body), digest)
        put_signed(signed.url, signed.headers, body, retry=retry, ca_file=ca_file)
        back = get_signed(store.sign_get(f"{place}/good"), 3, 20, retry=retry, ca_file=ca_file)
        return ("yes", "") if back == body[3:23] else ("no", "other bytes came back")

    def again() -> tuple[Kept, str]:
        signed = store.sign_put(f"{place}/good", len(body), digest)
        status, code = send_once(signed.url, signed.headers, body, retry=retry, ca_file=ca_file)
        return ("yes", "") if status == 412 else ("no", f"a second upload was answered {status} {code}")

    def other_bytes() -> tuple[Kept, str]:
        return refused(f"{place}/bytes", lambda signed: signed, body[:-1] + b"!")

    def other_length() -> tuple[Kept, str]:
        longer = body + b"more"
        return refused(f"{place}/length", lambda signed: _with(signed, "Content-Length", str(len(longer))), longer)

    def other_name() -> tuple[Kept, str]:
        return refused(
            f"{place}/name", lambda signed: SignedPut(signed.url.replace("/name?", "/eman?"), signed.headers), body
        )

    def no_condition() -> tuple[Kept, str]:
        return refused(f"{place}/condition", lambda signed: _with(signed, "If-None-Match", None), body)

    yield Trial("agents upload by a signed URL", "signed", works)
    yield Trial("a signed upload never overwrites", "signed", again)
    yield Trial("a signed upload takes only the signed bytes", "signed", other_bytes)
    yield Trial("a signed upload takes only the signed length", "signed", other_length)
    yield Trial("a signed upload takes only the signed name", "signed", other_name)
    yield Trial("a signed upload without a signed header is refused", "signed", no_condition)


def _with(signed: SignedPut, header: str, value: str | None) -> SignedPut:
    headers = {name: text for name, text in signed.headers.items() if name != header}
    return SignedPut(signed.url, headers if value is None else {**headers, header: value})


# --- locks and versions -------------------------------------------------------------------------------------------


def _lock_trials(store: S3Store, name: str, when: datetime) -> Iterator[Trial]:
    bucket, key, client = store.config.bucket, store.key(name), store.client
    first, other = b"locked, first", b"laid over it"
    version: list[str] = []

    def locked() -> tuple[Kept, str]:
        until = (when + timedelta(seconds=LOCK_SECONDS)).replace(microsecond=0)
        with _faults(name):
            made = client.put_object(
                Bucket=bucket, Key=key, Body=first, ChecksumSHA256=_base64(first),
                ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until,
            )  # fmt: skip
        if not made.get("VersionId"):
            return "no", f"{NOT_VERSIONED}, so it can hold no locks"
        version.append(made["VersionId"])
        with _faults(name):
            found = client.get_object_retention(Bucket=bucket, Key=key, VersionId=version[0])["Retention"]
        kept = found.get("Mode") == "COMPLIANCE" and abs(found["RetainUntilDate"] - until) < timedelta(seconds=2)
        return ("yes", "") if kept else ("no", f"the store says {found}")

    def undeletable() -> tuple[Kept, str]:
        answer = _attempt(name, lambda: client.delete_object(Bucket=bucket, Key=key, VersionId=version[0]))
        if not isinstance(answer, DrbackupError):
            return "no", "a locked version was deleted"
        return "yes", ""

    def unshortened() -> tuple[Kept, str]:
        answer = _attempt(
            name,
            lambda: client.put_object_retention(
                Bucket=bucket, Key=key, VersionId=version[0],
                Retention={"Mode": "COMPLIANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(seconds=5)},
            ),
        )  # fmt: skip
        return ("yes", "") if isinstance(answer, DrbackupError) else ("no", "the lock was shortened")

    def survives() -> tuple[Kept, str]:
        with _faults(name):
            client.put_object(Bucket=bucket, Key=key, Body=other, ChecksumSHA256=_base64(other))
            client.delete_object(Bucket=bucket, Key=key)  # a delete marker: no lock stops one
        back = store.get_version_matching(name, hashlib.sha256(first).digest())
        return ("yes", "") if back == first else ("no", "the first version is gone")

    def if_locked(attempt: Callable[[], tuple[Kept, str]]) -> Callable[[], tuple[Kept, str]]:
        return lambda: attempt() if version else ("no", "this bucket has no object lock")

    yield Trial("objects can be locked until a date", "lock", lambda: _said_plainly(locked))
    yield Trial("a locked object can't be deleted", "lock", if_locked(undeletable))
    yield Trial("a lock can't be shortened", "lock", if_locked(unshortened))
    yield Trial("what is laid over a locked object does not hide it", "lock", if_locked(survives))


def _said_plainly(locked: Callable[[], tuple[Kept, str]]) -> tuple[Kept, str]:
    """What the lock trial showed; a refused lock is no fault: this bucket was made without Object Lock."""
    try:
        return locked()
    except (StoreRefused, ObjectMissing) as refused:
        return "no", f"this bucket has no object lock: {refused.message}"


# --- the clock ----------------------------------------------------------------------------------------------------


def _clock(store: S3Store) -> tuple[Kept, str]:
    difference = clock_difference(store)
    if difference is None:
        return "unknown", "the store sends no Date"
    detail = f"{difference:+.1f} s"
    if abs(difference) > CLOCK_LIMIT:
        return "no", f"{detail}: set up NTP; signatures are refused from 900 s on"
    return "yes", detail


def clock_difference(store: S3Store) -> float | None:
    """The store's clock minus this host's, in seconds; None when the store sends no Date.

    The Date header has whole seconds. Raises StoreUnavailable.
    """
    endpoint = store.config.endpoint or str(store.client.meta.endpoint_url)
    retry = store.config.retry
    pool = urllib3.PoolManager(cert_reqs="CERT_REQUIRED", ca_certs=store.config.ca_file or None)
    before = time.time()
    try:
        # Unsigned on purpose: a signature made with a wrong clock would be refused, and this should still measure it.
        answer = pool.request("HEAD", endpoint, retries=False, timeout=retry.stall, redirect=False)
    except urllib3.exceptions.HTTPError as fault:
        raise StoreUnavailable(say("{endpoint}: {why}", endpoint=endpoint, why=fault), where=endpoint) from fault
    date = answer.headers.get("Date")
    if date is None:
        return None
    middle = (before + time.time()) / 2
    return email.utils.parsedate_to_datetime(date).timestamp() + 0.5 - middle


@contextlib.contextmanager
def _faults(name: str) -> Iterator[None]:
    """botocore's faults as our errors. Nothing is retried here, so a fault that may pass is raised, too."""
    try:
        with faults_as_ours(name):
            yield
    except TryAgain as fault:
        raise fault.error from fault


def _attempt(name: str, ask: Callable[[], Any]) -> DrbackupError | None:
    """None when the store did it, its refusal otherwise. A fault that may pass is raised."""
    try:
        with _faults(name):
            ask()
    except StoreUnavailable as fault:
        if "changed on the way" in fault.message:
            return fault  # that is how a wrong checksum is answered
        raise
    except DrbackupError as refused:
        return refused
    return None


def _base64(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode("ascii")
