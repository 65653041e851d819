"""No lock stops a newer version or a delete marker: a hashed name is still read as the version with its hash."""

from __future__ import annotations

import base64
import hashlib
import io
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from drbackup.errors import ObjectCorrupt, ObjectExists, ObjectMissing
from drbackup.stores.s3.signed import get_signed, put_signed
from drbackup.stores.s3.store import S3Store
from tests.support.services.seaweedfs import S3Server

pytestmark = pytest.mark.s3
BODY = b"a sealed pack " * 5000
DIGEST = hashlib.sha256(BODY).digest()
NAME = "v1/d/db1/p/" + DIGEST.hex()
RECORD = "v1/r/city/20261123T120000Z-" + DIGEST.hex()


@pytest.fixture
def store(s3_server: S3Server, request: pytest.FixtureRequest) -> S3Store:
    prefix = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    return S3Store("offsite", s3_server.config(s3_server.shared_bucket(), prefix=prefix, lock_days=1))


def lay_over(store: S3Store, name: str, body: bytes, *, checksum: bool = True) -> None:
    """What a thief with the credential, or a server without conditions, can do: a newer version."""
    digest = {"ChecksumSHA256": base64.b64encode(hashlib.sha256(body).digest()).decode()} if checksum else {}
    store.client.put_object(Bucket=store.config.bucket, Key=store.key(name), Body=body, **digest)


def hide(store: S3Store, name: str) -> None:
    store.client.delete_object(Bucket=store.config.bucket, Key=store.key(name))


@pytest.mark.parametrize("name", [NAME, RECORD])
@pytest.mark.parametrize("checksum", [True, False])
def test_a_foreign_version_laid_over_a_pack_is_read_past(store: S3Store, name: str, checksum: bool) -> None:
    store.put(name, BODY)
    for number in range(3):
        lay_over(store, name, b"ransom note %d" % number, checksum=checksum)
    assert store.get(name) == BODY
    assert store.get_version_matching(name, DIGEST, 14, 28) == BODY[14:42]
    assert store.get(name, 14, 28) == BODY[14:42]
    size = store.stat(name)
    assert size is not None
    assert size.size == len(BODY)
    assert get_signed(store.sign_get(name), 14, 28) == BODY[14:42]
    store.put(name, BODY)  # it is still there, so nothing is sent twice and nothing is a conflict


def test_a_delete_marker_does_not_hide_a_pack(store: S3Store) -> None:
    store.put(NAME, BODY)
    hide(store, NAME)
    assert store.get(NAME) == BODY
    assert store.get(NAME, 5, 10) == BODY[5:15]
    assert store.get(NAME, 5) == BODY[5:]
    assert get_signed(store.sign_get(NAME)) == BODY
    assert store.stat(NAME) is None  # so that the next run lays it down again, visibly
    store.put(NAME, BODY)
    assert store.stat(NAME) is not None


def test_a_server_that_keeps_no_checksums_is_read_by_hashing(store: S3Store) -> None:
    lay_over(store, NAME, BODY, checksum=False)
    assert store.get(NAME, 5, 10) == BODY[5:15]
    lay_over(store, NAME, b"foreign", checksum=False)
    assert store.get(NAME) == BODY
    fresh = S3Store("another process", store.config)
    assert fresh.get(NAME, 5, 10) == BODY[5:15]
    assert get_signed(fresh.sign_get(NAME)) == BODY
    store.put(NAME, BODY)


def test_when_no_version_matches_that_is_damage_and_when_there_is_none_it_is_missing(store: S3Store) -> None:
    with pytest.raises(ObjectMissing):
        store.get_version_matching(NAME, DIGEST)
    lay_over(store, NAME, b"foreign")
    for ask in (lambda: store.get(NAME), lambda: store.get_version_matching(NAME, DIGEST)):
        with pytest.raises(ObjectCorrupt):
            ask()
    with pytest.raises(ObjectExists):
        store.put(NAME, BODY)
    hide(store, NAME)
    with pytest.raises(ObjectMissing):
        store.get(NAME)


def test_a_name_that_promises_no_hash_is_read_as_it_is(store: S3Store) -> None:
    store.put("v1/vault", BODY)
    hide(store, "v1/vault")
    with pytest.raises(ObjectMissing):
        store.get("v1/vault")


@pytest.mark.parametrize("signed", [False, True])
def test_every_object_is_locked_for_the_days_asked(store: S3Store, signed: bool) -> None:
    if signed:
        upload = store.sign_put(NAME, len(BODY), DIGEST)
        put_signed(upload.url, upload.headers, BODY)
    else:
        store.put(NAME, BODY)
    bucket, key = store.config.bucket, store.key(NAME)
    found = store.client.get_object_retention(Bucket=bucket, Key=key)["Retention"]
    assert found["Mode"] == "COMPLIANCE"
    assert abs(found["RetainUntilDate"] - datetime.now(UTC) - timedelta(days=1)) < timedelta(minutes=2)
    version = store.client.head_object(Bucket=bucket, Key=key)["VersionId"]
    with pytest.raises(ClientError):
        store.client.delete_object(Bucket=bucket, Key=key, VersionId=version)


def test_lists_more_than_one_page(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {f"v1/page/{number:03}" for number in range(25)}
    for name in sorted(names):
        store.put(name, b"x")
    whole = store.client.list_objects_v2
    monkeypatch.setattr(store.client, "list_objects_v2", lambda **asked: whole(MaxKeys=7, **asked))
    assert {found.name for found in store.list("v1/page/")} == names


def test_what_others_keep_in_the_bucket_stays_out_of_sight(store: S3Store) -> None:
    store.put("v1/x", b"x")
    store.client.put_object(Bucket=store.config.bucket, Key=f"{store.config.prefix}x/v1/y", Body=b"")
    assert [found.name for found in store.list("")] == ["v1/x"]


def test_a_version_that_rotted_behind_its_checksum_is_read_past_and_mended(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server still names the checksum of what it once took; the bytes it gives back are others."""
    store.put(NAME, BODY)
    rotten = store.client.head_object(Bucket=store.config.bucket, Key=store.key(NAME))["VersionId"]
    whole = store.client.get_object

    def rot(**asked: object) -> object:
        answer = whole(**asked)  # type: ignore[arg-type]
        if answer["VersionId"] == rotten:
            body = bytearray(answer["Body"].read())
            body[len(body) // 2] ^= 1
            answer["Body"] = io.BytesIO(body)  # type: ignore[typeddict-item]
        return answer

    monkeypatch.setattr(store.client, "get_object", rot)
    for read in (store.get, store.check):
        with pytest.raises(ObjectCorrupt):
            read(NAME)
    store.repair(NAME, BODY)
    assert store.get(NAME) == BODY
    assert store.check(NAME) == len(BODY)
    versions = store.client.list_object_versions(Bucket=store.config.bucket, Prefix=store.key(NAME))["Versions"]
    assert {version["VersionId"] for version in versions} > {rotten}  # it stays, locked
    lock = store.client.get_object_retention(Bucket=store.config.bucket, Key=store.key(NAME))["Retention"]
    assert lock["RetainUntilDate"] > datetime.now(UTC) + timedelta(hours=23)
    later = S3Store("another process", store.config)
    monkeypatch.setattr(later.client, "get_object", rot)
    assert later.get(NAME, 14, 28) == BODY[14:42]


@pytest.mark.parametrize("hidden", ["marker", "foreign"])
def test_what_was_hidden_is_laid_on_top_again(store: S3Store, hidden: str) -> None:
    store.put(NAME, BODY)
    hide(store, NAME) if hidden == "marker" else lay_over(store, NAME, b"ransom note")
    assert store.check(NAME) == len(BODY)  # readers find it
    store.repair(NAME, BODY)
    found = store.stat(NAME)
    assert found is not None
    assert found.size == len(BODY)
