"""Which bytes of which packs are fetched by one request, and how long they are kept.

Chunks that are needed soon and lie near each other in a pack become one stretch: an object store answers few large
requests far faster than many small ones. A stretch lives until the last portion that was planned with it is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future

from drbackup.vault.pack import HEADER_LIMIT, PackOpener
from drbackup.wire.messages import Place

GAPS = 10  # a stretch holds so many gaps at most: bytes between two chunks that are rather fetched than asked around
Key = tuple[bytes, int, int]  # pack, offset, size: one sealed chunk


class Stretch:
    """Bytes ``[start, end)`` of a pack. ``loaded`` is None until it is asked for."""

    __slots__ = ("end", "keys", "loaded", "pack", "start", "uses")

    def __init__(self, pack: bytes, start: int, end: int) -> None:
        self.pack, self.start, self.end = pack, start, end
        self.uses = 0
        self.keys: list[Key] = []
        self.loaded: Future[tuple[memoryview, PackOpener]] | None = None

    @property
    def size(self) -> int:
        return self.end - self.start

    def sealed(self, place: Place) -> tuple[memoryview, PackOpener]:
        """A chunk's sealed bytes (fewer when the pack ends before) and what opens them. Waits until they have come;
        raises what fetching raised."""
        assert self.loaded is not None
        data, opener = self.loaded.result()
        at = place.offset - self.start
        return data[at : at + place.size], opener


class Stretches:
    """Plans stretches. Not thread-safe: its owner holds a lock."""

    def __init__(self) -> None:
        self._of: dict[Key, Stretch] = {}
        self._coming: dict[bytes, list[Place]] = {}  # pack → needed soon, in no stretch yet

    def announce(self, places: Sequence[Place]) -> None:
        """These chunks will be claimed soon, once for each time they are announced."""
        for place in places:
            if (stretch := self._of.get(_key(place))) is not None:
                stretch.uses += 1
            else:
                self._coming.setdefault(place.pack, []).append(place)

    def claim(self, place: Place, most: int) -> Stretch:
        """The stretch of an announced chunk; none is made larger than ``most`` bytes unless one chunk is."""
        key = _key(place)
        if key not in self._of:
            for stretch, places in _gathered(self._coming.pop(place.pack), most):
                stretch.uses = len(places)
                stretch.keys = [_key(each) for each in places]
                self._of.update(dict.fromkeys(stretch.keys, stretch))
        return self._of[key]

    def release(self, place: Place) -> Stretch | None:
        """One use of a chunk is over. Its stretch, when nobody needs that any more."""
        stretch = self._of[_key(place)]
        stretch.uses -= 1
        if stretch.uses:
            return None
        for key in stretch.keys:
            self._of.pop(key, None)
        return stretch


def _key(place: Place) -> Key:
    return place.pack, place.offset, place.size


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
            # A pack's header is needed with its first chunk, and lies just before it.
            gathered, stretch = [], Stretch(place.pack, 0 if start <= HEADER_LIMIT else start, end)
        gathered.append(place)
    yield stretch, gathered
