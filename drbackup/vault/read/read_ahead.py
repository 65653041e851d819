"""Many contents read at once: planned, fetched ahead, opened on several threads, and handed over there.

The owner's thread adds contents in order. They become portions (:mod:`drbackup.vault.read.batches`). One set of threads
fetches the bytes of the next portions in ranges (:mod:`drbackup.vault.read.ranges`). Another set opens the portions
whose bytes have come. The same thread gives each part to ``take``, while the bytes are in the processor's cache.

Bounds of memory:

- the fetched ranges hold at most :data:`FETCHED` bytes and one range;
- what is kept of them for later is at most :data:`~drbackup.vault.read.ranges.SPARE` bytes;
- each opening thread holds one portion.

Portions begin in order but end in any order, so several threads may take parts of one content at once. The first
failure stops everything and is raised by the owner's next call.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from drbackup.errors import Interrupted, ObjectCorrupt, say
from drbackup.vault.keys import Keyring
from drbackup.vault.layout import DATA, pack_name
from drbackup.vault.pack import HEADER_LIMIT, PackOpener
from drbackup.vault.read.batches import Layout, Part, Portion
from drbackup.vault.read.decrypt import OpenBuffer
from drbackup.vault.read.demand import Demand
from drbackup.vault.read.ranges import ByteRange, RangePlan
from drbackup.vault.tree import Extent

FETCHED = 96 << 20  # bytes fetched and not yet used up
FETCHERS = 4
PORTIONS_AHEAD = 48  # portions begun and not ended: bounds what is remembered of their contents
PLANNED = 96  # portions laid out and not begun
_OPENERS = 256
_T = TypeVar("_T")


class PackFetch(Protocol):
    """The source of packs' bytes for a reader. Thread-safe. Raises :mod:`drbackup.errors` only."""

    @property
    def stretch(self) -> int:
        """The number of bytes that are best asked for in one request: the largest range that is planned."""
        ...

    def fetch(self, kind: str, domain: str, pack: bytes, offset: int, length: int) -> bytes | memoryview:
        """Bytes ``[offset, offset+length)`` of a pack, fewer when it ends before. ``pack``: SHA-256, 32 bytes."""
        ...


class DataPacks:
    """The data packs of one domain: their bytes, and what opens them. Thread-safe."""

    def __init__(self, fetch: PackFetch, keyring: Keyring, domain: str) -> None:
        self._fetch = fetch
        self._keyring = keyring
        self._domain = domain
        self._mutex = threading.Lock()
        self._openers: OrderedDict[bytes, PackOpener] = OrderedDict()
        self.fetched_bytes = 0

    @property
    def stretch(self) -> int:
        """The number of bytes that are best asked for in one request."""
        return self._fetch.stretch

    def name(self, pack: bytes) -> str:
        """The object name of a pack, for messages."""
        return pack_name(self._domain, DATA, pack)

    def load(self, pack: bytes, start: int, end: int) -> tuple[memoryview, PackOpener]:
        """Bytes ``[start, end)`` of a pack (fewer when it ends before), and its opener.

        Raises what fetching raises, and as :class:`~drbackup.vault.pack.PackOpener`. Raises :class:`ObjectCorrupt` for
        a pack of another kind.
        """
        data = self._get(pack, start, end - start)
        with self._mutex:
            opener = self._openers.get(pack)
        if opener is None:
            head = data if start == 0 and len(data) >= HEADER_LIMIT else self._get(pack, 0, HEADER_LIMIT)
            opener = PackOpener(bytes(head[:HEADER_LIMIT]), self._domain, self._keyring, self.name(pack))
            if opener.header.kind != DATA:
                raise ObjectCorrupt(
                    say("{pack}: is of kind {kind}", pack=self.name(pack), kind=repr(opener.header.kind)),
                    where=self.name(pack),
                )
            with self._mutex:
                self._openers[pack] = opener
                if len(self._openers) > _OPENERS:
                    self._openers.popitem(last=False)
        return data, opener

    def _get(self, pack: bytes, offset: int, length: int) -> memoryview:
        data = self._fetch.fetch(DATA, self._domain, pack, offset, length)
        with self._mutex:
            self.fetched_bytes += len(data)
        return memoryview(data)


class ReadAhead(Generic[_T]):
    """Contents that are read ahead, as the module says. The end of its ``with`` block ends its threads.

    ``take`` is called on the opening threads with a part and its portion's memory. That memory is used again as soon as
    ``take`` returns. ``spent`` gets the seconds that opening took and those that taking took, for each portion.
    ``demand``: what will be added, as far as that is known; it is filled before anything is added.
    """

    def __init__(
        self,
        packs: DataPacks,
        take: Callable[[Part[_T], memoryview], None],
        *,
        threads: int = 2,
        spent: Callable[[float, float], None] | None = None,
        demand: Demand | None = None,
    ) -> None:
        self._packs = packs
        self._take = take
        self._spent = spent
        self._layout: Layout[_T] = Layout()
        self._ahead: deque[Portion[_T]] = deque()  # announced, not begun
        self._ahead_bytes = 0  # sealed bytes of their chunks
        self._openers = ThreadPoolExecutor(threads, thread_name_prefix="open")
        self._fetchers = ThreadPoolExecutor(FETCHERS, thread_name_prefix="fetch")
        self._buffers = threading.local()
        self._moved = threading.Condition()  # guards all below
        self._ranges = RangePlan(demand)
        self._kept = 0  # bytes of ranges that are fetched or being fetched
        self._begun = 0  # portions
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """No thread works any more afterwards. What was added and not drained is given up."""
        with self._moved:
            self._error = self._error or Interrupted("the reading was given up")
            self._moved.notify_all()
        self._fetchers.shutdown(wait=False, cancel_futures=True)
        self._openers.shutdown(wait=True)
        self._fetchers.shutdown(wait=True)

    @property
    def spare(self) -> int:
        """The bytes that are kept, or set aside to be kept, of what nobody needs soon."""
        return self._ranges.spare

    @property
    def failed(self) -> bool:
        """Whether something failed. A ``take`` that waits for another part must look at this now and then."""
        return self._error is not None

    def add(self, owner: _T, extents: Sequence[Extent]) -> None:
        """One content more, which is read soon. May wait for room. Raises what went wrong in any thread."""
        for portion in self._layout.add(owner, extents):
            self._announce(portion)

    def begin(self) -> None:
        """Everything added so far is begun now, without waiting for more. Does not wait until it is taken.

        May wait for room. Raises what went wrong in any thread.
        """
        if not self._layout.empty:
            self._announce(self._layout.take())
        while self._ahead:
            self._begin(self._ahead.popleft())
        self._ahead_bytes = 0

    def drain(self) -> None:
        """Everything added so far has been taken when this returns. Raises what went wrong in any thread."""
        self.begin()
        self.wait(lambda: not self._begun)

    def wait(self, until: Callable[[], bool]) -> None:
        """``until()``, asked after each portion, is true when this returns. Raises what went wrong in any thread."""
        with self._moved:
            self._moved.wait_for(lambda: until() or self._error is not None)
            self._raise_error()

    # --- the owner's thread ---------------------------------------------------------------------------------------

    def _announce(self, portion: Portion[_T]) -> None:
        """The portion is planned. Portions so far before it that their ranges can't grow any more are begun.

        That is a distance of two of the largest ranges: chunks sealed by several threads don't lie quite in the order
        of the contents.
        """
        with self._moved:
            self._raise_error()
            self._ranges.announce(portion.places)
        self._ahead.append(portion)
        self._ahead_bytes += portion.stored
        while self._ahead_bytes > 2 * self._packs.stretch or len(self._ahead) > PLANNED:
            first = self._ahead.popleft()
            self._ahead_bytes -= first.stored
            self._begin(first)

    def _begin(self, portion: Portion[_T]) -> None:
        with self._moved:
            self._moved.wait_for(lambda: self._begun < PORTIONS_AHEAD or self._error is not None)
            ranges = [self._fetched(self._ranges.claim(place, self._packs.stretch)) for place in portion.places]
            self._raise_error()
            self._begun += 1
            self._openers.submit(self._work, portion, ranges)

    def _fetched(self, planned: ByteRange) -> ByteRange:
        if planned.loaded is None:
            self._moved.wait_for(lambda: self._fits(planned.size))
            self._raise_error()
            self._kept += planned.size
            planned.loaded = self._fetchers.submit(self._packs.load, planned.pack, planned.start, planned.end)
        return planned

    def _fits(self, size: int) -> bool:
        # While no portion is under way nothing will be released, so the next one gets its bytes whatever is kept.
        return self._kept + size <= FETCHED or not self._begun or self._error is not None

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    # --- opening threads ------------------------------------------------------------------------------------------

    def _work(self, portion: Portion[_T], ranges: Sequence[ByteRange]) -> None:
        error: BaseException | None = None
        try:
            if self._error is None:
                self._open_and_take(portion, ranges)
        except BaseException as failed:  # noqa: BLE001 — the owner's thread raises it
            error = failed
        with self._moved:
            self._error = self._error or error
            self._begun -= 1
            self._moved.notify_all()
            for place, uses in zip(portion.places, portion.uses, strict=True):
                if (over := self._ranges.release(place, uses)) is not None:
                    self._kept -= over.size

    def _open_and_take(self, portion: Portion[_T], ranges: Sequence[ByteRange]) -> None:
        if not hasattr(self._buffers, "buffer"):
            self._buffers.buffer = OpenBuffer()
        buffer: OpenBuffer = self._buffers.buffer
        memory = buffer.clear(portion.size)
        opening = 0.0
        for place, start, fetched in zip(portion.places, portion.starts, ranges, strict=True):
            sealed, opener = fetched.sealed(place)
            begun = time.monotonic()
            buffer.open(opener, place, sealed, memory[start : start + place.raw], self._packs.name(place.pack))
            opening += time.monotonic() - begun
        begun = time.monotonic()
        for part in portion.parts:
            if self._error is not None:
                return
            self._take(part, memory)
        if self._spent is not None:
            self._spent(opening, time.monotonic() - begun)
