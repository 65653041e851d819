"""Object Lock on a real server: what is locked can't be erased, by anybody; what must stay is locked for longer."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta

import pytest

from drbackup.errors import ObjectMissing, StoreRefused
from drbackup.stores.s3.erase import S3Eraser
from drbackup.stores.s3.lock import S3Locker
from tests.support.services.seaweedfs import S3Server, versions_of

pytestmark = pytest.mark.s3
BODY = b"a sealed pack " * 100
NAME = "v1/d/db1/p/" + hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def store(s3_server: S3Server) -> S3Locker:
    prefix = f"locks/{secrets.token_hex(6)}"
    return S3Locker("offsite", s3_server.config(s3_server.shared_bucket(), prefix=prefix, lock_days=3))


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def lay_over(store: S3Locker, body: bytes) -> None:
    store.client.put_object(Bucket=store.config.bucket, Key=store.key(NAME), Body=body)


def test_a_locked_object_stays_and_says_until_when(store: S3Locker) -> None:
    store.put(NAME, BODY)
    outcome = S3Eraser("offsite", store.config).erase(NAME)
    assert not outcome.gone
    assert outcome.locked_until is not None
    assert in_days(2.99) < outcome.locked_until < in_days(3.01)
    assert store.get(NAME) == BODY


def test_what_was_laid_over_a_locked_object_goes_and_the_object_is_seen_again(store: S3Locker) -> None:
    store.put(NAME, BODY)
    lay_over(store, b"ransom note")
    store.client.delete_object(Bucket=store.config.bucket, Key=store.key(NAME))
    assert store.stat(NAME) is None
    assert not S3Eraser("offsite", store.config).erase(NAME).gone
    assert store.get(NAME) == BODY
    assert store.stat(NAME) is not None
    assert len(versions_of(store, NAME)) == 1


def test_when_the_lock_is_over_every_version_and_delete_marker_goes(s3_server: S3Server) -> None:
    config = s3_server.config(s3_server.shared_bucket(), prefix=f"locks/{secrets.token_hex(6)}")
    store = S3Locker("offsite", config)
    store.put(NAME, BODY)
    lay_over(store, b"a second version")
    store.client.delete_object(Bucket=config.bucket, Key=store.key(NAME))
    assert S3Eraser("offsite", config).erase(NAME).gone
    page = store.client.list_object_versions(Bucket=config.bucket, Prefix=store.key(NAME))
    assert not page.get("Versions")
    assert not page.get("DeleteMarkers")


def test_a_lock_is_made_longer_and_never_shorter(store: S3Locker) -> None:
    store.put(NAME, BODY)
    longer = store.lock(NAME, in_days(9))
    assert in_days(8.99) < longer < in_days(9.01)
    assert store.lock(NAME, in_days(2)) == longer
    outcome = S3Eraser("offsite", store.config).erase(NAME)
    assert outcome.locked_until == longer


def test_the_right_version_is_locked_whatever_was_laid_over_it(store: S3Locker) -> None:
    store.put(NAME, BODY)
    (right,) = versions_of(store, NAME)
    lay_over(store, b"ransom note")
    until = S3Locker("another process", store.config).lock(NAME, in_days(9))
    head = store.client.head_object(Bucket=store.config.bucket, Key=store.key(NAME), VersionId=right)
    assert head["ObjectLockRetainUntilDate"] == until


def test_only_what_is_there_can_be_locked(store: S3Locker) -> None:
    with pytest.raises(ObjectMissing):
        store.lock(NAME, in_days(9))


def test_a_bucket_without_locks_says_so(s3_server: S3Server) -> None:
    store = S3Locker("offsite", s3_server.config(s3_server.shared_bucket(lock=False), prefix=secrets.token_hex(6)))
    store.put(NAME, BODY)
    with pytest.raises(StoreRefused):
        store.lock(NAME, in_days(9))
