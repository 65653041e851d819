"""Object Lock, made longer: one look at the version that has the right bytes, one new date."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from drbackup.stores.s3.store import S3Store


class S3Locker(S3Store):
    """The bucket's store with the one method that it lacks on purpose. Same credential, same prefix."""

    @property
    def lock_days(self) -> int:
        return self.config.lock_days

    def lock(self, name: str, until: datetime) -> datetime:
        """See :class:`drbackup.stores.lock.Locker`. A longer lock is left as it is: not every server refuses to
        shorten one."""
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
    """S3 keeps whole seconds; rounded down, so that nothing is said to be locked longer than it is."""
    return until.astimezone(UTC).replace(microsecond=0)
