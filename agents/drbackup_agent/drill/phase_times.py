"""How long a restore waited for bytes, how long it decrypted them, and how long it wrote them.

All three happen at the same time on several threads, so begin and end don't give their lengths. Each thread measures
its own seconds; :meth:`Meters.shares` then divides the common wall-clock time in proportion. ``ATTRIBUTION`` says so in
the evidence.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from drbackup.vault.read.read_ahead import PackFetch
from drbackup.vault.read.reader import PointReader
from drbackup.vault.tree import Entry

ATTRIBUTION = (
    "取回、解密与恢复在多个线程中相互重叠,按各自实测耗时的比例划分其共同时间。 "
    "Fetch, decrypt and restore overlap on several threads: their common time is divided in proportion to what each "
    "was measured to take."
)
_T = TypeVar("_T")


class Meters:
    """Seconds and bytes of one source, summed over all threads. Its methods may be called from any thread."""

    def __init__(self, tell: Callable[[int], None], clock: Callable[[], float] = time.monotonic) -> None:
        """``tell`` is called with the bytes fetched so far, on the thread that fetched them. ``clock``: seconds."""
        self.fetching = 0.0  # seconds of waiting for bytes
        self.opening = 0.0  # seconds of decrypting and decompressing
        self.using = 0.0  # seconds of digesting and writing, or of another use of the content
        self.fetched_bytes = 0
        self._tell = tell
        self._clock = clock
        self._mutex = threading.Lock()

    def restart(self) -> None:
        """All seconds are zero afterwards; the bytes stay."""
        with self._mutex:
            self.fetching = self.opening = self.using = 0.0

    def shares(self, wall: float) -> tuple[float, float, float]:
        """Seconds of fetch, decrypt and restore, which add up to ``wall``. Unmeasured time counts as restore."""
        spent = self.fetching + self.opening + self.using
        if spent <= 0:
            return 0.0, 0.0, wall
        fetch, decrypt = wall * (self.fetching / spent), wall * (self.opening / spent)
        return fetch, decrypt, max(wall - fetch - decrypt, 0.0)

    def fetched(self, seconds: float, size: int) -> None:
        """One finished fetch of ``size`` bytes is counted, and the new total is told."""
        with self._mutex:
            self.fetching += seconds
            self.fetched_bytes += size
            done = self.fetched_bytes
        self._tell(done)

    def spent(self, opening: float, using: float) -> None:
        """Seconds of decrypting and of use are added."""
        with self._mutex:
            self.opening += opening
            self.using += using

    def used(self, pieces: Iterator[_T]) -> Iterator[_T]:
        """The same pieces. The time until the next piece is asked for counts as use."""
        for piece in pieces:
            begun = self._clock()
            yield piece
            self.spent(0.0, self._clock() - begun)


class TimedFetch:
    """A :class:`~drbackup.vault.read.read_ahead.PackFetch` that measures how long each fetch takes."""

    def __init__(self, inner: PackFetch, meters: Meters, clock: Callable[[], float] = time.monotonic) -> None:
        self._inner = inner
        self._meters = meters
        self._clock = clock

    @property
    def stretch(self) -> int:
        return self._inner.stretch

    def fetch(self, kind: str, domain: str, pack: bytes, offset: int, length: int) -> bytes | memoryview:
        begun = self._clock()
        data = self._inner.fetch(kind, domain, pack, offset, length)
        self._meters.fetched(self._clock() - begun, len(data))
        return data


class TimedReader(PointReader):
    """A point's reader that measures how long decryption and use of the content take."""

    meters: Meters

    def content(self, entry: Entry) -> Iterator[bytes]:
        return self.meters.used(super().content(entry))

    def spent(self, opening: float, taking: float) -> None:
        self.meters.spent(opening, taking)
