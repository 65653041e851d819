"""Erasing objects of a bucket: every version and every delete marker of a name, each by its own id.

The server refuses to delete a version that Object Lock protects. That is an answer (locked until when), not a failure.
Delete markers go first: if the rest stays, nothing hides it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from drbackup.errors import DrbackupError, ObjectMissing, StoreRefused, say
from drbackup.stores.base import require_name
from drbackup.stores.erase import CREDENTIAL_HINT, Erased
from drbackup.stores.s3.client import S3Config, make_client
from drbackup.stores.s3.errors import faults_as_ours

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Result = TypeVar("Result")


class S3Eraser:
    """The eraser of one bucket, under one prefix. ``config`` has the credential of collect."""

    def __init__(self, name: str, config: S3Config, clock: Callable[[], datetime] | None = None) -> None:
        self.name = name
        self.config = config
        self.client: S3Client = make_client(config)
        self._prefix = f"{config.prefix.strip('/')}/" if config.prefix.strip("/") else ""
        self._clock = clock or (lambda: datetime.now(UTC))

    def erase(self, name: str) -> Erased:
        """What became of ``name``, all its versions and delete markers. Raises StoreUnavailable, StoreRefused."""
        key = self._prefix + require_name(name)
        found = sorted(self._versions(key, name), key=lambda each: not each[1])
        ends: list[datetime | None] = []
        for version, marker in found:
            try:
                self._delete(key, version, name)
            except ObjectMissing:
                continue
            except StoreRefused as refused:
                if marker:
                    raise
                ends.append(self._lock_of(key, version, name, refused))
        if not ends:
            return Erased(name, gone=True)
        dated = [end for end in ends if end is not None]
        return Erased(name, gone=False, locked_until=max(dated) if len(dated) == len(ends) else None)

    def _versions(self, key: str, name: str) -> Iterator[tuple[str, bool]]:
        """(version id, is a delete marker) of everything that lies under exactly this key."""
        asked: dict[str, Any] = {"Bucket": self.config.bucket, "Prefix": key}
        while True:
            page = self._call(name, lambda: self.client.list_object_versions(**asked))
            for version in page.get("Versions", ()):
                if version["Key"] == key:
                    yield version["VersionId"], False
            for hidden in page.get("DeleteMarkers", ()):
                if hidden["Key"] == key:
                    yield hidden["VersionId"], True
            if not page.get("IsTruncated"):
                return
            asked["KeyMarker"] = page["NextKeyMarker"]
            asked["VersionIdMarker"] = page.get("NextVersionIdMarker", "")

    def _delete(self, key: str, version: str, name: str) -> None:
        self._call(name, lambda: self.client.delete_object(Bucket=self.config.bucket, Key=key, VersionId=version))

    def _lock_of(self, key: str, version: str, name: str, refused: StoreRefused) -> datetime | None:
        """The instant until which a version that could not be deleted is locked; None under a legal hold.

        Raises ``refused`` when no lock explains the refusal: then the credential lacks the right.
        """
        bucket = self.config.bucket
        head = self._call(name, lambda: self.client.head_object(Bucket=bucket, Key=key, VersionId=version))
        until = head.get("ObjectLockRetainUntilDate")
        if head.get("ObjectLockLegalHoldStatus") == "ON":
            return None
        if until is None or until <= self._clock():
            raise refused.reword(refused.said, hint=CREDENTIAL_HINT)
        return until.astimezone(UTC)

    def _call(self, name: str, ask: Callable[[], Result]) -> Result:
        def attempt(_deadline: float) -> Result:
            with faults_as_ours(name):
                return ask()

        try:
            return self.config.retry.run(attempt)
        except DrbackupError as fault:
            fault.reword(say("store {store}: {what}", store=self.name, what=fault.said))
            raise
