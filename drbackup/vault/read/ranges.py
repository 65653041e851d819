"""Which bytes of which packs are fetched by one request, and how long they are kept.

Chunks that are needed soon and lie near each other in a pack are fetched as one range of bytes. An object store answers
few large requests far faster than many small ones.

A range is held until all uses that were announced are over. What of it is wanted later, by
:mod:`drbackup.vault.read.demand`, is kept longer, in at most :data:`SPARE` bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future

from drbackup.vault.pack import HEADER_LIMIT, PackOpener
from drbackup.vault.read.demand import Demand
from drbackup.wire.messages import Place

GAPS = 10  # two chunks share a range when the gap between them is at most one part in so many of the largest range
NEAR = 4  # the header is fetched with a pack's first range when that makes it longer by at most one part in so many
SPARE = 32 << 20  # bytes kept of ranges that nobody needs soon
Key = tuple[bytes, int, int]  # pack, offset, size: one sealed chunk


class ByteRange:
    """Bytes ``[start, end)`` of a pack, fetched by one request; later, what of them is still wanted."""

    __slots__ = ("_left_before", "end", "kept", "loaded", "pack", "places", "reserved", "start", "uses")

    def __init__(self, pack: bytes, start: int, end: int) -> None:
        self.pack, self.start, self.end = pack, start, end
        self.uses = 0  # announced and not yet released
        self.reserved = 0  # spare bytes set aside for what will be wanted later
        self.places: dict[Key, Place] = {}  # chunks that were announced
        self.loaded: Future[tuple[memoryview, PackOpener]] | None = None  # None until it is fetched
        self.kept: list[tuple[int, memoryview]] | None = None  # (offset in the pack, bytes), once nobody needs it soon
        self._left_before = end - start  # bytes still wanted when it was last reduced

    @property
    def size(self) -> int:
        """The bytes that are fetched."""
        return self.end - self.start

    def sealed(self, place: Place) -> tuple[memoryview, PackOpener]:
        """A chunk's sealed bytes (fewer when the pack ends before), and what opens them.

        Waits until the bytes have come. Raises what fetching them raised.
        """
        assert self.loaded is not None
        data, opener = self.loaded.result()
        start, end = self.start, place.offset + place.size
        for piece_start, piece in self.kept or ():
            if piece_start <= place.offset and end <= piece_start + len(piece):
                start, data = piece_start, piece
                break
        at = place.offset - start
        return data[at : at + place.size], opener

    def holds(self, place: Place) -> bool:
        """Whether the chunk's bytes are here, or will be once the range is fetched."""
        end = place.offset + place.size
        if self.kept is None:
            return self.start <= place.offset and end <= self.end
        return any(start <= place.offset and end <= start + len(piece) for start, piece in self.kept)

    def reduce(self, demand: Demand) -> int:
        """The bytes that are held from now on, when chunks that are used up are dropped. 0: none is wanted again.

        Only for a range that was fetched and that nobody uses now. A view keeps the whole memory that it is a view of,
        so what stays is copied. It is copied only when what is wanted is half as much as before, or less.
        """
        assert self.loaded is not None
        data, opener = self.loaded.result()
        if self.kept is None:
            self.kept = [(self.start, data)]
        left = demand.left(self.pack)
        if 2 * left <= self._left_before:
            self._left_before = left
            self.kept = [(start, memoryview(bytes(piece))) for start, piece in self._still_wanted(demand, left)]
            self.loaded = Future()
            self.loaded.set_result((memoryview(b""), opener))
        return sum(len(piece) for _, piece in self.kept) if left else 0

    def _still_wanted(self, demand: Demand, left: int) -> list[tuple[int, memoryview]]:
        """(offset in the pack, bytes) of what may be used again. ``left``: bytes of the pack that will be.

        These are the announced chunks that are wanted, if they are all of ``left``. If not, others are still to be
        announced: then it is everything except the chunks that are used up.
        """
        wanted = [place for place in self.places.values() if demand.wanted(place)]
        if sum(place.size for place in wanted) >= left:
            pieces = [(place.offset, self.sealed(place)[0]) for place in wanted]
        else:
            used_up = [place for place in self.places.values() if not demand.wanted(place)]
            pieces = [rest for start, piece in self.kept or () for rest in _without(start, piece, used_up)]
        self.places = {_key(place): place for place in wanted}
        return pieces


class RangePlan:
    """The ranges that are to be fetched, and those that are held. Not thread-safe: its owner holds a mutex."""

    def __init__(self, demand: Demand | None = None) -> None:
        self.spare = 0  # bytes kept, or set aside to be kept, of what nobody needs soon
        self._demand = demand or Demand()
        self._range_of: dict[Key, ByteRange] = {}  # of each announced chunk, once one is planned
        self._unplanned: dict[bytes, list[Place]] = {}  # pack → announced chunks that are in no range yet
        self._planned: set[bytes] = set()  # packs that had a range
        self._kept: dict[bytes, ByteRange] = {}  # pack → the range that holds more of it than was announced

    def announce(self, places: Sequence[Place]) -> None:
        """These chunks will be claimed soon, as often as they are announced."""
        for place in places:
            if (planned := self._range_of.get(_key(place))) is not None:
                planned.uses += 1
            elif (kept := self._kept.get(place.pack)) is not None and kept.holds(place):
                self._join(kept, [place])
            else:
                self._unplanned.setdefault(place.pack, []).append(place)

    def claim(self, place: Place, most: int) -> ByteRange:
        """The range of an announced chunk. A new one has at most ``most`` bytes, except for a single larger chunk."""
        key = _key(place)
        if key not in self._range_of:
            self._plan(place.pack, most)
        return self._range_of[key]

    def release(self, place: Place, uses: int = 1) -> ByteRange | None:
        """The range of a chunk, when this was its last announced use; None before that.

        ``uses``: how many extents wanted the chunk. None too for a range that was released before and kept since.
        """
        self._demand.used(place, uses)
        released = self._range_of[_key(place)]
        released.uses -= 1
        if released.uses:
            return None
        for each in released.places:
            self._range_of.pop(each, None)
        kept_before = released.kept is not None
        self._keep(released)
        return None if kept_before else released

    def _plan(self, pack: bytes, most: int) -> None:
        """All announced chunks of a pack have their ranges afterwards."""
        places = self._unplanned.pop(pack)
        first = pack not in self._planned
        self._planned.add(pack)
        if first and (whole := self._whole(pack, places, most)) is not None:
            self._join(whole, places)
            return
        for planned, near in _ranges_over(places, most):
            if first:
                planned.start, first = _with_header(planned.start, planned.end, most), False
            self._join(planned, near)

    def _join(self, planned: ByteRange, places: list[Place]) -> None:
        """These announced chunks are in that range."""
        planned.uses += len(places)
        for place in places:
            key = _key(place)
            planned.places[key] = place
            self._range_of[key] = planned

    def _whole(self, pack: bytes, announced: list[Place], most: int) -> ByteRange | None:
        """One range over all that is ever needed of a pack, for the first time that it is needed.

        None where it would be larger than ``most`` bytes, or where there is no room to keep what is not needed soon.
        """
        span = self._demand.span(pack)
        if span is None:
            return None
        first, end = span
        if end - first > most or any(each.offset < first or each.offset + each.size > end for each in announced):
            return None
        soon = sum({(each.offset, each.size): each.size for each in announced}.values())
        later = max(end - first - soon, 0)
        if self.spare + later > SPARE:
            return None
        whole = ByteRange(pack, _with_header(first, end, most), end)
        whole.reserved = later
        self.spare += later
        self._kept[pack] = whole
        return whole

    def _keep(self, released: ByteRange) -> None:
        """What is wanted later of a range that nobody needs soon is kept: all of it, or nothing without spare room."""
        self.spare -= released.reserved
        released.reserved = 0
        if self._kept.setdefault(released.pack, released) is not released:
            return  # another range of this pack is kept already, and one is enough
        loaded = released.loaded
        if loaded is not None and loaded.done() and loaded.exception() is None:
            size = released.reduce(self._demand)
            if size and self.spare + size <= SPARE:
                released.reserved = size
                self.spare += size
                return
        del self._kept[released.pack]


def _key(place: Place) -> Key:
    return place.pack, place.offset, place.size


def _with_header(start: int, end: int, most: int) -> int:
    """The start of a pack's first range: 0 when the header is near, because the first chunk can't be opened without."""
    near = start <= HEADER_LIMIT or (start <= (end - start) // NEAR and end <= most)
    return 0 if near else start


def _without(start: int, data: memoryview, places: list[Place]) -> Iterator[tuple[int, memoryview]]:
    """(offset, bytes) of what is left when these chunks are cut out of ``data``, which begins at ``start``."""
    end = start + len(data)
    at = start
    for place in sorted(places, key=lambda place: place.offset):
        if at < place.offset <= end:
            yield at, data[at - start : place.offset - start]
        at = max(at, place.offset + place.size)
    if at < end:
        yield at, data[at - start :]


def _ranges_over(places: list[Place], most: int) -> list[tuple[ByteRange, list[Place]]]:
    """The ranges over chunks of one pack, each with its chunks."""
    found: list[tuple[ByteRange, list[Place]]] = []
    for place in sorted(places, key=lambda place: place.offset):
        start, end = place.offset, place.offset + place.size
        if found:
            last, near = found[-1]
            # A chunk that is announced twice is in one range, whatever ``most`` is.
            if end <= last.end or (start - last.end <= most // GAPS and end - last.start <= most):
                last.end = max(last.end, end)
                near.append(place)
                continue
        found.append((ByteRange(place.pack, start, end), [place]))
    return found
