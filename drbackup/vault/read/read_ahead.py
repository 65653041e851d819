"""Reads many contents at once: plans, fetches ahead, opens chunks on several threads, hands the plain bytes over there.

The owner's thread adds contents in order. They become portions (:mod:`drbackup.vault.read.batches`); the bytes of the
next portions are fetched in stretches (:mod:`drbackup.vault.read.ranges`) by one set of threads while another opens
those that have come and, in the same thread and while the bytes are still in the processor's cache, gives every part to
``take``.

Bounds: stretches together never hold more than :data:`FETCHED` bytes and one stretch, and what is kept of them for
later no more than :data:`~drbackup.vault.read.ranges.SPARE`; each opening thread holds one portion. Portions begin in
order, one behind another, but end in any: the parts of one content may be taken at once by several threads. Whatever
fails first stops everything and is raised by the owner's next call.
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
from drbackup.vault.read.demand import Foresight
from drbackup.vault.read.ranges import Stretch, Stretches
from drbackup.vault.tree import Extent

FETCHED = 96 << 20  # bytes fetched and not yet used up
FETCHERS = 4
PORTIONS_AHEAD = 48  # portions in the works: bounds what is remembered of their contents
PLANNED = 96  # portions laid out and not begun
_OPENERS = 256
_T = TypeVar("_T")


class PackFetch(Protocol):
    """Where a reader gets bytes of packs. Thread-safe. Raises :mod:`drbackup.errors` only."""

    @property
    def stretch(self) -> int:
        """How many bytes are best asked for at once."""
        ...

    def fetch(self, kind: str, domain: str, pack: bytes, offset: int, length: int) -> bytes | memoryview:
        """Bytes ``[offset, offset+length)`` of a pack, fewer when it ends before."""
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
        return self._fetch.stretch

    def name(self, pack: bytes) -> str:
        """For messages."""
        return pack_name(self._domain, DATA, pack)

    def load(self, pack: bytes, start: int, end: int) -> tuple[memoryview, PackOpener]:
        """Bytes ``[start, end)`` of a pack (fewer when it ends before) and its opener. Raises what is wrong."""
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
    """See the module. ``take`` is called from the opening threads with a part and its portion's memory, which is used
    again as soon as it returns. ``spent`` is told the seconds that opening and taking took, of each portion.
    ``foresight``: what will be added, as far as it is known; filled, if at all, before anything is added."""

    def __init__(
        self,
        packs: DataPacks,
        take: Callable[[Part[_T], memoryview], None],
        *,
        threads: int = 2,
        spent: Callable[[float, float], None] | None = None,
        foresight: Foresight | None = None,
    ) -> None:
        self._packs = packs
        self._take = take
        self._spent = spent
        self._layout: Layout[_T] = Layout()
        self._ahead: deque[Portion[_T]] = deque()  # announced, not begun
        self._ahead_bytes = 0
        self._openers = ThreadPoolExecutor(threads, thread_name_prefix="open")
        self._fetchers = ThreadPoolExecutor(FETCHERS, thread_name_prefix="fetch")
        self._buffers = threading.local()
        self._moved = threading.Condition()  # guards all below
        self._stretches = Stretches(foresight)
        self._kept = 0  # bytes of stretches that are fetched or being fetched
        self._begun = 0  # portions
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nobody is at work any more afterwards. What was added and not drained is given up."""
        with self._moved:
            self._error = self._error or Interrupted("the reading was given up")
            self._moved.notify_all()
        self._fetchers.shutdown(wait=False, cancel_futures=True)
        self._openers.shutdown(wait=True)
        self._fetchers.shutdown(wait=True)

    @property
    def spare(self) -> int:
        """Bytes that are kept, or set aside to be kept, of what nobody needs soon."""
        return self._stretches.spare

    @property
    def failed(self) -> bool:
        """Whoever waits for another part inside ``take`` must look at this now and then."""
        return self._error is not None

    def add(self, owner: _T, extents: Sequence[Extent]) -> None:
        """Read a content soon. May wait for room. Raises what went wrong anywhere."""
        for portion in self._layout.add(owner, extents):
            self._announce(portion)

    def begin(self) -> None:
        """Everything added so far is needed soon, whatever may still be added. Does not wait for its end."""
        if not self._layout.empty:
            self._announce(self._layout.take())
        while self._ahead:
            self._begin(self._ahead.popleft())
        self._ahead_bytes = 0

    def drain(self) -> None:
        """Return when everything added so far has been taken. Raises what went wrong anywhere."""
        self.begin()
        self.wait(lambda: not self._begun)

    def wait(self, until: Callable[[], bool]) -> None:
        """Return when ``until()``, which is looked at after each portion. Raises what went wrong anywhere."""
        with self._moved:
            self._moved.wait_for(lambda: until() or self._error is not None)
            self._raise_error()

    # --- the owner's thread ---------------------------------------------------------------------------------------

    def _announce(self, portion: Portion[_T]) -> None:
        """Begin the portions that are so far in front of this one that their stretches are known to be whole: two
        stretches far, because chunks sealed by several threads don't lie quite in the order of the contents."""
        with self._moved:
            self._raise_error()
            self._stretches.announce(portion.places)
        self._ahead.append(portion)
        self._ahead_bytes += portion.stored
        while self._ahead_bytes > 2 * self._packs.stretch or len(self._ahead) > PLANNED:
            first = self._ahead.popleft()
            self._ahead_bytes -= first.stored
            self._begin(first)

    def _begin(self, portion: Portion[_T]) -> None:
        with self._moved:
            self._moved.wait_for(lambda: self._begun < PORTIONS_AHEAD or self._error is not None)
            stretches = [self._fetched(self._stretches.claim(place, self._packs.stretch)) for place in portion.places]
            self._raise_error()
            self._begun += 1
            self._openers.submit(self._work, portion, stretches)

    def _fetched(self, stretch: Stretch) -> Stretch:
        if stretch.loaded is None:
            self._moved.wait_for(lambda: self._fits(stretch.size))
            self._raise_error()
            self._kept += stretch.size
            stretch.loaded = self._fetchers.submit(self._packs.load, stretch.pack, stretch.start, stretch.end)
        return stretch

    def _fits(self, size: int) -> bool:
        # With nothing under way nothing will be let go, so the next portion gets its bytes whatever is kept.
        return self._kept + size <= FETCHED or not self._begun or self._error is not None

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    # --- opening threads ------------------------------------------------------------------------------------------

    def _work(self, portion: Portion[_T], stretches: Sequence[Stretch]) -> None:
        error: BaseException | None = None
        try:
            if self._error is None:
                self._open_and_take(portion, stretches)
        except BaseException as failed:  # noqa: BLE001 — the owner's thread raises it
            error = failed
        with self._moved:
            self._error = self._error or error
            self._begun -= 1
            self._moved.notify_all()
            for place, uses in zip(portion.places, portion.uses, strict=True):
                if (over := self._stretches.release(place, uses)) is not None:
                    self._kept -= over.size

    def _open_and_take(self, portion: Portion[_T], stretches: Sequence[Stretch]) -> None:
        if not hasattr(self._buffers, "buffer"):
            self._buffers.buffer = OpenBuffer()
        buffer: OpenBuffer = self._buffers.buffer
        memory = buffer.clear(portion.size)
        opening = 0.0
        for place, start, stretch in zip(portion.places, portion.starts, stretches, strict=True):
            sealed, opener = stretch.sealed(place)
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
