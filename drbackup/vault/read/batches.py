"""What is read together: contents laid out as portions of a few MiB, each with the chunks it needs. Pure.

A portion lists every chunk it needs once, however many contents use it, and says where in one block of memory each is
opened to. Chunks that follow each other in a content then lie behind each other in memory, so most contents are one
span, and they lie in memory pages as they lie in the content, so that a large one can be written without the kernel
copying it. A portion ends between two contents that share no chunk where it can, so that no chunk is opened twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from drbackup.errors import ObjectCorrupt, say
from drbackup.vault.suite import MAX_CHUNK
from drbackup.vault.tree import Extent
from drbackup.wire.messages import Place

PAGE = 4096
ENOUGH = 4 << 20  # bytes of opened chunks after which a portion ends where it can
ROOM = ENOUGH + MAX_CHUNK + PAGE  # bytes of opened chunks that a portion never exceeds
MOST_GIVEN = 64 << 20  # bytes of contents: one chunk may be a content a thousand times over
MOST_PARTS = 512
_T = TypeVar("_T")


@dataclass(slots=True)
class Part(Generic[_T]):
    """What one portion holds of one content. ``spans``: (start, end) in the portion's memory, in order.

    ``number`` counts a content's parts from 0, ``offset`` is where this one begins in the content, in bytes.
    """

    owner: _T
    number: int
    offset: int
    spans: list[tuple[int, int]] = field(default_factory=list)
    last: bool = False


@dataclass(slots=True)
class Portion(Generic[_T]):
    """Chunks to open into one block of ``size`` bytes, each at its start, and the parts of contents they make."""

    places: list[Place] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    uses: list[int] = field(default_factory=list)  # extents that want each chunk
    parts: list[Part[_T]] = field(default_factory=list)
    size: int = 0
    stored: int = 0  # sealed bytes of its chunks
    given: int = 0  # bytes of contents


class Layout(Generic[_T]):
    """Takes contents one by one and gives portions. Not thread-safe."""

    def __init__(self) -> None:
        self._portion: Portion[_T] = Portion()
        self._known: dict[bytes, tuple[int, int, int]] = {}  # chunk id → number, start, raw size in the open portion

    def add(self, owner: _T, extents: Sequence[Extent]) -> Iterator[Portion[_T]]:
        """The portions that are complete by now. Raises :class:`ObjectCorrupt` for an impossible extent."""
        if self._ripe(extents):
            yield self.take()
        part = Part(owner, 0, 0)
        offset = 0
        for extent in extents:
            place, length = extent.place, extent.length
            known = self._known.get(place.id)
            if (known is None and self._too_large_with(place)) or self._portion.given >= MOST_GIVEN:
                if part.spans:
                    self._portion.parts.append(part)
                    part = Part(owner, part.number + 1, offset)
                yield self.take()
                known = None
            number, start, raw = known or self._include(place, offset - extent.start)
            if extent.start < 0 or length < 0 or extent.start + length > raw:
                raise ObjectCorrupt("an extent reaches outside its chunk", where=place.pack.hex())
            start += extent.start
            if part.spans and part.spans[-1][1] == start:
                part.spans[-1] = (part.spans[-1][0], start + length)
            else:
                part.spans.append((start, start + length))
            offset += length
            self._portion.uses[number] += 1
            self._portion.given += length
        part.last = True
        self._portion.parts.append(part)

    def take(self) -> Portion[_T]:
        """What was gathered, complete or not; the next content begins a new portion."""
        taken, self._portion = self._portion, Portion()
        self._known = {}
        return taken

    @property
    def empty(self) -> bool:
        return not self._portion.parts

    def _ripe(self, extents: Sequence[Extent]) -> bool:
        portion = self._portion
        if len(portion.parts) >= MOST_PARTS or portion.given >= MOST_GIVEN:
            return True
        return portion.size >= ENOUGH and not (extents and extents[0].place.id in self._known)

    def _too_large_with(self, place: Place) -> bool:
        """Inside one content: a large file is spread over portions."""
        size = self._portion.size
        return size >= ENOUGH or size + PAGE + place.raw > ROOM

    def _include(self, place: Place, offset: int) -> tuple[int, int, int]:
        """``offset``: of the chunk's first byte in the content, negative when it begins before."""
        portion = self._portion
        require_place(place)
        start = portion.size + (offset - portion.size) % PAGE
        portion.places.append(place)
        portion.starts.append(start)
        portion.uses.append(0)
        portion.size = start + place.raw
        portion.stored += place.size
        known = self._known[place.id] = (len(portion.places) - 1, start, place.raw)
        return known


def require_place(place: Place, what: str = "") -> None:
    """Raises :class:`ObjectCorrupt`, before memory is taken, for a place that no honest writer makes."""
    what = what or place.pack.hex()
    if not 0 <= place.raw <= MAX_CHUNK or not 0 <= place.size <= 2 * MAX_CHUNK:
        raise ObjectCorrupt(say("{what}: a chunk claims {raw} bytes", what=what, raw=place.raw), where=what)
    if not 0 <= place.ordinal < 1 << 32 or not 0 <= place.offset < 1 << 40:
        raise ObjectCorrupt(
            say(
                "{what}: a chunk claims number {ordinal}, offset {offset}",
                what=what,
                ordinal=place.ordinal,
                offset=place.offset,
            ),
            where=what,
        )
