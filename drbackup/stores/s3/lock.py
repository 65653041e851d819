"""Renewing Object Lock: one request finds the lock of the version with the right bytes, one more sets a later date."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from drbackup.stores.s3.store import S3Store


class S3Locker(S3Store):
    """The bucket's store with the one method that it lacks on purpose. Same credential, same prefix."""

    @property
    def lock_days(self) -> int:
        """Days for which this bucket's objects are locked."""
        return self.config.lock_days

    def lock(self, name: str, until: datetime) -> datetime:
        """The instant until which ``name`` is locked now, at least ``until`` in whole seconds.

        A longer lock stays as it is, because not every server refuses to shorten one. Raises ObjectMissing,
        StoreUnavailable, StoreRefused.
        """
        version = self._version_for(name)
        held: datetime | None = self._head(name, version).get("ObjectLockRetainUntilDate")
        if held is not None and held >= until:
            return held.astimezone(UTC)
        wanted = whole_seconds(until)
        retention = {"Mode": self.config.lock_mode, "RetainUntilDate": wanted}
        asked: dict[str, Any] = {**self._address(name, version), "Retention": retention}
        self._call(name, lambda _: self.client.put_object_retention(**asked))
        return wanted


def whole_seconds(until: datetime) -> datetime:
    """``until`` in UTC, rounded down to whole seconds, as S3 keeps it. So no lock is said to be longer than it is."""
    return until.astimezone(UTC).replace(microsecond=0)
