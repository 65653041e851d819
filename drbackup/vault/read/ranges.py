"""Which bytes of which packs are fetched by one request, and how long they are kept.

Chunks that are needed soon and lie near each other in a pack become one stretch: an object store answers few large
requests far faster than many small ones. A stretch lives until the last portion that was planned with it is done; what
of it is known to be wanted later (:mod:`drbackup.vault.read.demand`) is kept longer, as far as there is spare room.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future

from drbackup.vault.pack import HEADER_LIMIT, PackOpener
from drbackup.vault.read.demand import Foresight
from drbackup.wire.messages import Place

GAPS = 10  # a stretch holds so many gaps at most: bytes between two chunks that are rather fetched than asked around
NEAR = 4  # a pack's header is fetched with its first stretch when that makes it larger by a part of so many
SPARE = 32 << 20  # bytes kept of stretches that nobody needs soon
Key = tuple[bytes, int, int]  # pack, offset, size: one sealed chunk


class Stretch:
    """Bytes ``[start, end)`` of a pack. ``loaded`` is None until it is asked for. ``reserved``: spare bytes that are
    set aside for what will be wanted later; ``rest``: what is left of it then, as (offset in the pack, bytes)."""

    __slots__ = ("_seen", "end", "loaded", "pack", "places", "reserved", "rest", "start", "uses")

    def __init__(self, pack: bytes, start: int, end: int) -> None:
        self.pack, self.start, self.end = pack, start, end
        self.uses = self.reserved = 0
        self.places: dict[Key, Place] = {}
        self.loaded: Future[tuple[memoryview, PackOpener]] | None = None
        self.rest: list[tuple[int, memoryview]] | None = None
        self._seen = end - start  # bytes still wanted when it was last cut down

    @property
    def size(self) -> int:
        return self.end - self.start

    def sealed(self, place: Place) -> tuple[memoryview, PackOpener]:
        """A chunk's sealed bytes (fewer when the pack ends before) and what opens them. Waits until they have come;
        raises what fetching raised."""
        assert self.loaded is not None
        data, opener = self.loaded.result()
        start, end = self.start, place.offset + place.size
        for begin, piece in self.rest or ():
            if begin <= place.offset and end <= begin + len(piece):
                start, data = begin, piece
                break
        at = place.offset - start
        return data[at : at + place.size], opener

    def holds(self, place: Place) -> bool:
        """Whether the chunk's bytes are here, or will be when they have come."""
        end = place.offset + place.size
        if self.rest is None:
            return self.start <= place.offset and end <= self.end
        return any(start <= place.offset and end <= start + len(data) for start, data in self.rest)

    def cut_down(self, foresight: Foresight) -> int:
        """Let go of chunks that are over; how many bytes are held from now on. Only what has come, and while nobody
        uses it. A view keeps the whole memory it is a view of, so the rest is copied, and only when it is small."""
        assert self.loaded is not None
        data, opener = self.loaded.result()
        if self.rest is None:
            self.rest = [(self.start, data)]
        left = foresight.left(self.pack)
        if 2 * left <= self._seen:
            self._seen = left
            self.rest = [(start, memoryview(bytes(piece))) for start, piece in self._wanted(foresight, left)]
            self.loaded = Future()
            self.loaded.set_result((memoryview(b""), opener))
        return sum(len(piece) for _, piece in self.rest) if left else 0

    def _wanted(self, foresight: Foresight, left: int) -> list[tuple[int, memoryview]]:
        """Chunks that are used again; where others are still to be named, all but the chunks that are over."""
        wanted = [place for place in self.places.values() if foresight.wanted(place)]
        if sum(place.size for place in wanted) >= left:
            self.places = {_key(place): place for place in wanted}
            return [(place.offset, self.sealed(place)[0]) for place in wanted]
        over = [place for place in self.places.values() if not foresight.wanted(place)]
        self.places = {_key(place): place for place in wanted}
        return [piece for start, data in self.rest or () for piece in _without(start, data, over)]


class Stretches:
    """Plans stretches. Not thread-safe: its owner holds a lock."""

    def __init__(self, foresight: Foresight | None = None) -> None:
        self._foresight = foresight or Foresight()
        self._of: dict[Key, Stretch] = {}
        self._coming: dict[bytes, list[Place]] = {}  # pack → needed soon, in no stretch yet
        self._begun: set[bytes] = set()  # packs of which something was claimed
        self._kept: dict[bytes, Stretch] = {}  # pack → what holds more of it than was announced
        self.spare = 0  # bytes kept, or set aside to be kept

    def announce(self, places: Sequence[Place]) -> None:
        """These chunks will be claimed soon, once for each time they are announced."""
        for place in places:
            if (stretch := self._of.get(_key(place))) is not None:
                stretch.uses += 1
            elif (kept := self._kept.get(place.pack)) is not None and kept.holds(place):
                self._join(kept, [place])
            else:
                self._coming.setdefault(place.pack, []).append(place)

    def claim(self, place: Place, most: int) -> Stretch:
        """The stretch of an announced chunk; none is made larger than ``most`` bytes unless one chunk is."""
        key = _key(place)
        if key not in self._of:
            coming = self._coming.pop(place.pack)
            first = place.pack not in self._begun
            self._begun.add(place.pack)
            if first and (whole := self._whole(place.pack, coming, most)) is not None:
                self._join(whole, coming)
            else:
                for stretch, places in _gathered(coming, most):
                    if first:
                        stretch.start, first = _with_header(stretch.start, stretch.end, most), False
                    self._join(stretch, places)
        return self._of[key]

    def release(self, place: Place, uses: int = 1) -> Stretch | None:
        """One portion's use of a chunk is over, in which ``uses`` extents wanted it. Its stretch, when nobody needs
        that soon any more."""
        self._foresight.used(place, uses)
        stretch = self._of[_key(place)]
        stretch.uses -= 1
        if stretch.uses:
            return None
        for each in stretch.places:
            self._of.pop(each, None)
        kept_before = stretch.rest is not None
        self._keep(stretch)
        return None if kept_before else stretch

    def _join(self, stretch: Stretch, places: list[Place]) -> None:
        stretch.uses += len(places)
        for place in places:
            key = _key(place)
            stretch.places[key] = place
            self._of[key] = stretch

    def _whole(self, pack: bytes, coming: list[Place], most: int) -> Stretch | None:
        """One stretch over all that will ever be needed of a pack, the first time it is needed, if what is not needed
        soon can be kept."""
        span = self._foresight.span(pack)
        if span is None:
            return None
        first, end = span
        soon = sum({(place.offset, place.size): place.size for place in coming}.values())
        if end - first > most or any(each.offset < first or each.offset + each.size > end for each in coming):
            return None
        later = max(end - first - soon, 0)
        if self.spare + later > SPARE:
            return None
        stretch = Stretch(pack, _with_header(first, end, most), end)
        stretch.reserved = later
        self.spare += later
        self._kept[pack] = stretch
        return stretch

    def _keep(self, stretch: Stretch) -> None:
        """Of what nobody needs soon, what is wanted later: all of it, or nothing where there is no room."""
        self.spare -= stretch.reserved
        stretch.reserved = 0
        if self._kept.setdefault(stretch.pack, stretch) is not stretch:
            return
        loaded = stretch.loaded
        if loaded is not None and loaded.done() and loaded.exception() is None:
            size = stretch.cut_down(self._foresight)
            if size and self.spare + size <= SPARE:
                stretch.reserved = size
                self.spare += size
                return
        del self._kept[stretch.pack]


def _key(place: Place) -> Key:
    return place.pack, place.offset, place.size


def _with_header(start: int, end: int, most: int) -> int:
    """Where to begin so that the pack's header, which is needed with its first chunk, comes too, if it is near."""
    near = start <= HEADER_LIMIT or (start <= (end - start) // NEAR and end <= most)
    return 0 if near else start


def _without(start: int, data: memoryview, places: list[Place]) -> Iterator[tuple[int, memoryview]]:
    """What is left of bytes that begin at ``start`` when these chunks are cut out."""
    end = start + len(data)
    at = start
    for place in sorted(places, key=lambda place: place.offset):
        if at < place.offset <= end:
            yield at, data[at - start : place.offset - start]
        at = max(at, place.offset + place.size)
    if at < end:
        yield at, data[at - start :]


def _gathered(places: list[Place], most: int) -> Iterator[tuple[Stretch, list[Place]]]:
    """Stretches over the places of one pack, each with its places."""
    places = sorted(places, key=lambda place: place.offset)
    gathered: list[Place] = []
    stretch = Stretch(b"", 0, 0)
    for place in places:
        start, end = place.offset, place.offset + place.size
        # A chunk that is needed twice is in one stretch, however small those are to be.
        fits = end <= stretch.end or (start - stretch.end <= most // GAPS and end - stretch.start <= most)
        if gathered and fits:
            stretch.end = max(stretch.end, end)
        else:
            if gathered:
                yield stretch, gathered
            gathered, stretch = [], Stretch(place.pack, start, end)
        gathered.append(place)
    yield stretch, gathered
