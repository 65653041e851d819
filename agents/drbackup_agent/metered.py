"""How long a restore waited for bytes, and how long it was opening them.

Fetching, decrypting and writing overlap (a reader fetches a window, opens chunks out of it, hands them to a writer), so
their lengths can't be told by begin and end. Each is measured where it happens; :meth:`Meters.shares` then divides the
common wall-clock time in proportion. ``ATTRIBUTION`` says so in the evidence.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from drbackup.vault.read_ahead import Fetch
from drbackup.vault.reader import PointReader
from drbackup.vault.tree import Entry

ATTRIBUTION = (
    "取回、解密与恢复相互重叠,按各自实测耗时的比例划分其共同时间。 "
    "Fetch, decrypt and restore overlap: their common time is divided in proportion to what each was measured to take."
)
_T = TypeVar("_T")


class Meters:
    """Seconds and bytes of one source. ``tell`` is called with the fetched bytes so far, from the reading thread."""

    def __init__(self, tell: Callable[[int], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.fetching = 0.0
        self.reading = 0.0  # fetching included
        self.fetched_bytes = 0
        self._tell = tell
        self._clock = clock
        self._lock = threading.Lock()

    def shares(self, wall: float) -> tuple[float, float, float]:
        """``wall`` seconds divided into fetch, decrypt (opening, decompressing, digesting) and restore."""
        fetch = min(self.fetching, wall)
        decrypt = min(max(self.reading - self.fetching, 0.0), wall - fetch)
        return fetch, decrypt, wall - fetch - decrypt

    def fetched(self, seconds: float, size: int) -> None:
        with self._lock:
            self.fetching += seconds
            self.fetched_bytes += size
        self._tell(self.fetched_bytes)

    def timed(self, pieces: Iterator[_T]) -> Iterator[_T]:
        """The pieces; the time it takes to make each is reading, the time between them is not."""
        while True:
            begun = self._clock()
            try:
                piece = next(pieces)
            except StopIteration:
                return
            finally:
                with self._lock:
                    self.reading += self._clock() - begun
            yield piece


class MeteredFetch:
    """A :class:`~drbackup.vault.read_ahead.Fetch` that keeps the time."""

    def __init__(self, inner: Fetch, meters: Meters, clock: Callable[[], float] = time.monotonic) -> None:
        self._inner = inner
        self._meters = meters
        self._clock = clock

    @property
    def stretch(self) -> int:
        return self._inner.stretch

    def fetch(self, kind: str, domain: str, pack: bytes, offset: int, length: int) -> bytes:
        begun = self._clock()
        data = self._inner.fetch(kind, domain, pack, offset, length)
        self._meters.fetched(self._clock() - begun, len(data))
        return data


class MeteredReader(PointReader):
    """A point's reader that keeps the time."""

    meters: Meters

    def entries(self, prefix: bytes = b"") -> Iterator[Entry]:
        return self.meters.timed(super().entries(prefix))

    def content(self, entry: Entry) -> Iterator[bytes]:
        return self.meters.timed(super().content(entry))
