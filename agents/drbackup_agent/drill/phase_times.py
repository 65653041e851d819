"""How long a restore waited for bytes, how long it was opening them, and how long it was writing.

All three happen at the same time on several threads, so their lengths can't be told by begin and end. Each thread's
seconds are measured where they are spent; :meth:`Meters.shares` then divides the common wall-clock time in proportion.
``ATTRIBUTION`` says so in the evidence.
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
    """Seconds and bytes of one source, summed over threads. ``tell`` is called with the fetched bytes so far, from
    whatever thread has fetched them."""

    def __init__(self, tell: Callable[[int], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.fetching = 0.0
        self.opening = 0.0  # decrypting and decompressing
        self.using = 0.0  # digesting and writing, or whatever is done with the content
        self.fetched_bytes = 0
        self._tell = tell
        self._clock = clock
        self._mutex = threading.Lock()

    def restart(self) -> None:
        """Forget the seconds so far; the bytes stay."""
        with self._mutex:
            self.fetching = self.opening = self.using = 0.0

    def shares(self, wall: float) -> tuple[float, float, float]:
        """``wall`` seconds divided into fetch, decrypt and restore; what nobody was seen to spend goes to restore."""
        spent = self.fetching + self.opening + self.using
        if spent <= 0:
            return 0.0, 0.0, wall
        fetch, decrypt = wall * (self.fetching / spent), wall * (self.opening / spent)
        return fetch, decrypt, max(wall - fetch - decrypt, 0.0)

    def fetched(self, seconds: float, size: int) -> None:
        with self._mutex:
            self.fetching += seconds
            self.fetched_bytes += size
            done = self.fetched_bytes
        self._tell(done)

    def spent(self, opening: float, using: float) -> None:
        with self._mutex:
            self.opening += opening
            self.using += using

    def used(self, pieces: Iterator[_T]) -> Iterator[_T]:
        """The pieces; the time between them is spent on using them."""
        for piece in pieces:
            begun = self._clock()
            yield piece
            self.spent(0.0, self._clock() - begun)


class TimedFetch:
    """A :class:`~drbackup.vault.read.read_ahead.PackFetch` that keeps the time."""

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
    """A point's reader that keeps the time."""

    meters: Meters

    def content(self, entry: Entry) -> Iterator[bytes]:
        return self.meters.used(super().content(entry))

    def spent(self, opening: float, taking: float) -> None:
        self.meters.spent(opening, taking)
