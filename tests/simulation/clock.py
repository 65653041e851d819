"""The simulation's only clock. Days pass between two steps when the schedule says so, and never by themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 10**9
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND


class Clock:
    """Nanoseconds since the epoch; only forward. It starts long ago: the code refuses instants in the real future."""

    def __init__(self, ns: int = 1_577_836_800 * SECOND) -> None:
        self.ns = ns

    def now(self) -> datetime:
        """Aware, UTC, in microseconds."""
        return _EPOCH + timedelta(microseconds=self.ns // 1000)

    def advance(self, ns: int) -> None:
        assert ns >= 0
        self.ns += ns
