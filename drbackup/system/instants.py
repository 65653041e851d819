"""Instants as numbers: UTC nanoseconds since the epoch, in the catalog, in messages and in the vault.

A 0 means "not yet" or "unknown" where the field's comment says so. A datetime keeps microseconds, so what goes to it
and back loses up to 999 ns, never more.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_ns(instant: datetime) -> int:
    """Nanoseconds of an aware ``instant``. Raises ValueError for a naive one: its meaning would be a guess."""
    if instant.tzinfo is None:
        raise ValueError(f"an instant without a time zone: {instant}")
    return (instant - EPOCH) // _MICROSECOND * 1000


def from_ns(ns: int) -> datetime:
    """The UTC instant of ``ns`` nanoseconds since the epoch, rounded down to a microsecond."""
    return EPOCH + timedelta(microseconds=ns // 1000)


def from_ns_or_none(ns: int) -> datetime | None:
    """The UTC instant of ``ns`` nanoseconds since the epoch; None for 0."""
    return from_ns(ns) if ns else None
