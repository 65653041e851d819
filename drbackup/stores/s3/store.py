"""Objects in an S3 bucket.

Owns what the promises of :class:`~drbackup.stores.base.Store` mean in S3's words. Create-once is ``If-None-Match: *``.
Durable is a 2xx for a request with the SHA-256. "Nobody can delete it" is Object Lock.

S3 leaves two gaps. A server may ignore the condition, as Ceph does in versioned buckets. And no lock stops a newer
version or a delete marker. So a name that ends in a SHA-256 is read as "the version whose bytes have that hash". This
store never deletes.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import itertools
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from drbackup.errors import DrbackupError, ObjectCorrupt, ObjectExists, ObjectMissing, StoreRefused, say
from drbackup.stores.base import (
    SignedPut,
    Stat,
    digest_in_name,
    past_the_end,
    require_match,
    require_name,
    require_prefix,
)
from drbackup.stores.s3.client import S3Config, make_client
from drbackup.stores.s3.errors import faults_as_ours, hash_body, read_body

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Result = TypeVar("Result")
_REMEMBERED = 10_000  # names whose version is known, at most
_DEEP = 2  # folders above a pack's domain; records lie less deep, and are not read many at a time
_PAGES_AHEAD = 3  # of 1,000 versions each


class S3Store:
    """A store in one bucket, under one prefix. Thread-safe. ``clock`` gives the time that locks are counted from."""

    kind: ClassVar[str] = "s3"

    def __init__(self, name: str, config: S3Config, clock: Callable[[], datetime] | None = None) -> None:
        self.name = name
        self.config = config
        self.client: S3Client = make_client(config)
        self._prefix = f"{config.prefix.strip('/')}/" if config.prefix.strip("/") else ""
        self._clock = clock or (lambda: datetime.now(UTC))
        self._mutex = threading.Lock()
        self._foreseen: set[str] = set()  # domains whose versions were listed
        self._keeps_none = False  # True once the server was seen to keep no checksum of what we stored
        self._chosen: dict[str, str] = {}  # hashed name → version id to read, empty for the newest

    def key(self, name: str) -> str:
        """The key of object ``name`` in the bucket. Raises UsageError for an invalid name."""
        return self._prefix + require_name(name)

    # --- the promises of base.Store ---------------------------------------------------------------------------------

    def put(self, name: str, data: bytes | memoryview) -> None:
        """A durable object, create-once. Raises ObjectExists, StoreFull, StoreUnavailable, StoreRefused.

        When the condition fails, the object there may be from our own earlier attempt whose answer was lost. So it is
        compared before ObjectExists is raised.
        """
        digest = hashlib.sha256(data).digest()
        asked = {**self._address(name), **self._conditions(len(data), digest)}
        try:
            self._call(name, lambda _: self.client.put_object(Body=io.BytesIO(data), **asked), len(data))
        except ObjectExists:
            if not self.holds(name, len(data), digest):
                raise ObjectExists(
                    say("{name} exists in store {store} with other bytes", name=name, store=self.name), where=name
                ) from None

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """The bytes ``[offset, offset+length)``; to the end when ``length`` is None.

        A delete marker or a foreign newer version may hide a hashed name. Then the version whose hash matches is read.
        A whole read is proven by hashing it. A range can't be, so there the server's checksum decides. Raises
        ObjectMissing, ObjectCorrupt, StoreUnavailable, StoreRefused.
        """
        promised = digest_in_name(name)
        if promised is None or offset or length is not None:
            return self._read(name, offset, length, self._version_for(name))
        try:
            data = self._read(name, 0, None)
        except ObjectMissing as missing:  # or a delete marker hides it
            return self._read(name, 0, None, self._sound_version(name, promised, missing)[0])
        if hashlib.sha256(data).digest() != promised:
            data = self._read(name, 0, None, self._sound_version(name, promised)[0])
        return data

    def check(self, name: str) -> int:
        """The size in bytes of an object of which one version was read back and matches its name.

        Raises ObjectMissing, ObjectCorrupt, StoreUnavailable, StoreRefused.
        """
        promised = digest_in_name(name)
        try:
            size, digest = self._hash(name)
        except ObjectMissing as missing:
            if promised is None:
                raise
            return self._sound_version(name, promised, missing)[1]
        return size if promised in (None, digest) else self._sound_version(name, promised or b"")[1]

    def repair(self, name: str, data: bytes | memoryview) -> None:
        """A whole object: ``name`` gives back ``data`` again, by a new version. The damaged version stays below it.

        Only a bucket without versions loses the damaged bytes. Raises ObjectCorrupt when the name promises other bytes
        than ``data``.
        """
        digest = require_match(name, data)
        with contextlib.suppress(ObjectMissing):  # hidden by a delete marker, or never there
            if self._hash(name) == (len(data), digest):
                return
        asked = {**self._address(name), **self._conditions(len(data), digest)}
        del asked["IfNoneMatch"]  # because the name is taken
        self._call(name, lambda _: self.client.put_object(Body=io.BytesIO(data), **asked), len(data))
        self._chosen.pop(name, None)

    def stat(self, name: str) -> Stat | None:
        """The size of the newest version, None when there is none or a delete marker hides it.

        When a foreign version lies over a hashed name, it is the size of the version that readers get.
        """
        try:
            found = self._head(name)
            promised = digest_in_name(name)
            if promised is not None and self._foreign(name, promised, found):
                found = self._head(name, self._matching(name, promised) or "")
        except ObjectMissing:
            return None
        return Stat(name, found["ContentLength"], found["LastModified"].astimezone(UTC))

    def list(self, prefix: str) -> Iterator[Stat]:
        """Every object whose name starts with ``prefix``, fetched in pages of up to 1,000."""
        asked: dict[str, Any] = {"Bucket": self.config.bucket, "Prefix": self._prefix + require_prefix(prefix)}
        while True:
            page = self._call(prefix, lambda _: self.client.list_objects_v2(**asked))
            for found in page.get("Contents", ()):
                name = found["Key"][len(self._prefix) :]
                if not name.endswith("/"):  # other tools' "folder" markers are not objects of ours
                    yield Stat(name, found["Size"], found["LastModified"].astimezone(UTC))
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def sign_put(self, name: str, size: int, sha256: bytes) -> SignedPut:
        """A signed upload of exactly these bytes. Every header is signed, so the server refuses one without it."""
        asked = {**self._address(name), **self._conditions(size, sha256)}
        with faults_as_ours(name):
            url = self.client.generate_presigned_url("put_object", Params=asked, ExpiresIn=self.config.sign_seconds)
        headers = {
            "Content-Length": str(size),
            "If-None-Match": "*",
            "x-amz-checksum-sha256": asked["ChecksumSHA256"],
        }
        if self.config.lock_days:
            headers["x-amz-object-lock-mode"] = self.config.lock_mode
            headers["x-amz-object-lock-retain-until-date"] = f"{asked['ObjectLockRetainUntilDate']:%Y-%m-%dT%H:%M:%SZ}"
        return SignedPut(url, headers)

    def sign_get(self, name: str) -> str:
        """A URL that reads any range of this object until the URL runs out.

        When something lies over a hashed name, the URL is for the version that has the hash. Whoever has the URL can't
        look for that version.
        """
        asked = self._address(name, self._version_for(name))
        with faults_as_ours(name):
            return self.client.generate_presigned_url("get_object", Params=asked, ExpiresIn=self.config.sign_seconds)

    # --- what only S3 needs -----------------------------------------------------------------------------------------

    def holds(self, name: str, size: int, sha256: bytes) -> bool:
        """Whether a whole read of ``name`` gives exactly these bytes. The server's checksum saves reading them."""
        try:
            found = self._head(name)
        except ObjectMissing:
            found = {}
        if found.get("ContentLength") == size:
            stored = _whole_checksum(found)
            if stored == _base64(sha256):
                return True
            if not stored and hashlib.sha256(self._read(name, 0, None)).digest() == sha256:
                return True
        return digest_in_name(name) == sha256 and self._matching(name, sha256) is not None

    def get_version_matching(self, name: str, sha256: bytes, offset: int = 0, length: int | None = None) -> bytes:
        """A range of the version of ``name`` that as a whole has this SHA-256, whatever lies over it.

        Raises ObjectCorrupt when no version has it, ObjectMissing when there is no version at all.
        """
        version = self._matching(name, sha256)
        if version is None:
            if not any(self._versions(name)):
                raise ObjectMissing(say("store {store} has no object {name}", store=self.name, name=name), where=name)
            raise ObjectCorrupt(
                say("no version of {name} in store {store} matches its hash", name=name, store=self.name), where=name
            )
        return self._read(name, offset, length, version)

    def _address(self, name: str, version: str = "") -> dict[str, Any]:
        return {"Bucket": self.config.bucket, "Key": self.key(name), **({"VersionId": version} if version else {})}

    def _conditions(self, size: int, sha256: bytes) -> dict[str, Any]:
        asked: dict[str, Any] = {"ContentLength": size, "ChecksumSHA256": _base64(sha256), "IfNoneMatch": "*"}
        if self.config.lock_days:
            asked["ObjectLockMode"] = self.config.lock_mode
            until = self._clock() + timedelta(days=self.config.lock_days)
            asked["ObjectLockRetainUntilDate"] = until.replace(microsecond=0)
        return asked

    def _head(self, name: str, version: str = "") -> dict[str, Any]:
        asked = {**self._address(name, version), "ChecksumMode": "ENABLED"}
        return dict(self._call(name, lambda _: self.client.head_object(**asked)))

    def _read(self, name: str, offset: int, length: int | None, version: str = "") -> bytes:
        asked = self._address(name, version)
        if offset == 0 and length is None:
            return self._call(name, lambda deadline: read_body(self.client.get_object(**asked), name, deadline))
        size = None
        if length == 0 or length is None:
            # HTTP has no way to ask for nothing, nor for "the rest" when the rest is nothing.
            size = int(self._head(name, version)["ContentLength"])
            if offset == size or (length == 0 and offset < size):
                return b""
        last = "" if length is None else str(offset + length - 1)
        asked["Range"] = f"bytes={offset}-{last}"
        data = self._call(
            name, lambda deadline: read_body(self.client.get_object(**asked), name, deadline), length or size or 0
        )
        if length is not None and len(data) != length:
            raise past_the_end(name, offset + len(data), offset, length)
        return data

    def _hash(self, name: str, version: str = "") -> tuple[int, bytes]:
        """(size, SHA-256) of what the store gives back, read in pieces."""
        asked = self._address(name, version)
        return self._call(name, lambda deadline: hash_body(self.client.get_object(**asked), name, deadline))

    def _sound_version(self, name: str, promised: bytes, missing: ObjectMissing | None = None) -> tuple[str, int]:
        """(id, size) of a version whose bytes, read back, have that hash.

        The server's own checksum is not enough, because it may have been made before the bytes were damaged. Raises
        ``missing``, if given, when there is no such version, else ObjectCorrupt.
        """
        # No right to list versions, or a server without them: then only the newest can be had, and it is no good.
        with contextlib.suppress(StoreRefused):
            for version, _ in self._versions(name):
                size, digest = self._hash(name, version)
                if digest == promised:
                    return version, size
        raise missing or ObjectCorrupt(
            say("no version of {name} in store {store} matches its hash", name=name, store=self.name), where=name
        )

    def _version_for(self, name: str) -> str:
        """The version id to ask for; empty when the newest is right, or when nothing better is known.

        It is remembered for names that were found, so that the many ranges of one pack cost one request.
        """
        promised = digest_in_name(name)
        if promised is None:
            return ""
        if name not in self._chosen:
            self._foresee(name)
        if name in self._chosen:
            return self._chosen[name]
        try:
            stored = _whole_checksum(self._head(name))
        except ObjectMissing:
            return self._matching(name, promised) or ""
        right = stored == _base64(promised) or (not stored and self._only_one(name))
        if len(self._chosen) >= _REMEMBERED:
            self._chosen.clear()
        self._chosen[name] = "" if right else self._matching(name, promised) or ""
        return self._chosen[name]

    def _foresee(self, name: str) -> None:
        """Before the first request for a pack: all names of its domain with one version and nothing over it are noted.

        For those, the newest version is the only one. A reader of one pack reads its neighbours next, and one request
        tells of a thousand. Only a few pages are listed: a domain of very many packs would cost more than it saves.
        """
        above = name.rsplit("/", 2)[0]
        if above.count("/") < _DEEP:
            return
        folder = above + "/"
        with self._mutex:
            if folder in self._foreseen:
                return
            self._foreseen.add(folder)
        counts: dict[str, int] = {}
        hidden: set[str] = set()
        asked: dict[str, Any] = {"Bucket": self.config.bucket, "Prefix": self.key(folder + "x")[:-1]}
        with contextlib.suppress(StoreRefused):  # no right to list versions: then each name is asked for by itself
            for _ in range(_PAGES_AHEAD):
                page = self._call(folder, lambda _: self.client.list_object_versions(**asked))
                for found in page.get("Versions", ()):
                    counts[found["Key"]] = counts.get(found["Key"], 0) + 1
                hidden.update(found["Key"] for found in page.get("DeleteMarkers", ()))
                if not page.get("IsTruncated"):
                    break
                asked["KeyMarker"] = page["NextKeyMarker"]
                asked["VersionIdMarker"] = page.get("NextVersionIdMarker", "")
            else:
                counts.pop(asked["KeyMarker"], None)  # more of its versions may be on the next page
        sole = (key for key, count in counts.items() if count == 1 and key not in hidden)
        for key in itertools.islice(sole, _REMEMBERED - len(self._chosen)):
            self._chosen.setdefault(key[len(self._prefix) :], "")

    def _foreign(self, name: str, promised: bytes, newest: dict[str, Any]) -> bool:
        """Whether the newest version is not ours, by its checksum. Versions are listed only in doubt."""
        stored = _whole_checksum(newest)
        if stored or self._keeps_none:
            return bool(stored) and stored != _base64(promised)
        # It is ours and has no checksum: so this server keeps none, and from now on there is nothing to compare.
        self._keeps_none = self._only_one(name)
        return not self._keeps_none

    def _only_one(self, name: str) -> bool:
        try:
            return len(list(itertools.islice(self._versions(name), 2))) < 2
        except StoreRefused:
            return True  # versions can't be listed here, so there is nothing to choose from

    def _matching(self, name: str, sha256: bytes) -> str | None:
        """The id of a version with that hash; None when there is none, or when versions can't be listed here."""
        try:
            for version, size in self._versions(name):
                stored = _whole_checksum(self._head(name, version))
                if stored == _base64(sha256):
                    return version
                if not stored and size and hashlib.sha256(self._read(name, 0, None, version)).digest() == sha256:
                    return version
        except StoreRefused:
            return None  # no right to list versions, or a server without them: then only the newest can be had
        return None

    def _versions(self, name: str) -> Iterator[tuple[str, int]]:
        """(version id, size) of every version of exactly ``name``, delete markers left out."""
        asked: dict[str, Any] = {"Bucket": self.config.bucket, "Prefix": self.key(name)}
        while True:
            page = self._call(name, lambda _: self.client.list_object_versions(**asked))
            for found in page.get("Versions", ()):
                if found["Key"] == asked["Prefix"]:
                    yield found["VersionId"], found["Size"]
            if not page.get("IsTruncated"):
                return
            asked["KeyMarker"] = page["NextKeyMarker"]
            asked["VersionIdMarker"] = page.get("NextVersionIdMarker", "")

    def _call(self, name: str, ask: Callable[[float], Result], size: int = 0) -> Result:
        def attempt(deadline: float) -> Result:
            with faults_as_ours(name):
                return ask(deadline)

        try:
            return self.config.retry.run(attempt, size)
        except DrbackupError as fault:
            # An object's name says nothing of where it is: an operator has several stores.
            fault.reword(say("store {store}: {what}", store=self.name, what=fault.said))
            raise


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


def _whole_checksum(found: dict[str, Any]) -> str:
    """The server's SHA-256 of the whole object; empty when it keeps none, or one of a multipart upload's parts."""
    stored = str(found.get("ChecksumSHA256") or "")
    return "" if "-" in stored else stored
