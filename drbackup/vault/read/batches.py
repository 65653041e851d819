"""What is read together: contents laid out as portions of a few MiB, each with the chunks it needs. Pure.

A portion lists each chunk it needs once, however many contents use it. It says where in one block of memory each is
opened. Chunks that follow each other in a content follow each other in memory, so most contents are one span. Each
chunk begins at the same offset in a memory page as in a page of the content. So the kernel can write a large content
without copying it.

Where it can, a portion ends between two contents that share no chunk, so that no chunk is opened twice. Places and
extents that no honest writer makes are refused before memory is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from drbackup.errors import ObjectCorrupt, say
from drbackup.vault.suite import MAX_CHUNK
from drbackup.vault.tree import Extent
from drbackup.wire.messages import Place

PAGE = 4096  # bytes of a memory page
ENOUGH = 4 << 20  # bytes of opened chunks after which a portion ends where it can
ROOM = ENOUGH + MAX_CHUNK + PAGE  # bytes of opened chunks that a portion never exceeds
MOST_GIVEN = 64 << 20  # bytes of contents in one portion: one chunk may be a thousand contents
MOST_PARTS = 512
_T = TypeVar("_T")


@dataclass(slots=True)
class Part(Generic[_T]):
    """The part of one content that one portion holds."""

    owner: _T  # what the content was added for
    number: int  # of the content's parts, counted from 0
    offset: int  # where it begins in the content, in bytes
    spans: list[tuple[int, int]] = field(default_factory=list)  # (start, end) in the portion's memory, in order
    last: bool = False  # whether the content ends with it


@dataclass(slots=True)
class Portion(Generic[_T]):
    """Chunks that are opened into one block of memory, and the parts of contents that they make."""

    places: list[Place] = field(default_factory=list)  # of the chunks, each once
    starts: list[int] = field(default_factory=list)  # where in the memory each chunk is opened
    uses: list[int] = field(default_factory=list)  # extents that want each chunk
    parts: list[Part[_T]] = field(default_factory=list)
    size: int = 0  # bytes of the memory
    stored: int = 0  # sealed bytes of its chunks
    given: int = 0  # bytes of contents


class Layout(Generic[_T]):
    """The portions of contents that are added one by one. Not thread-safe."""

    def __init__(self) -> None:
        self._portion: Portion[_T] = Portion()
        self._known: dict[bytes, tuple[int, int, int]] = {}  # chunk id → number, start, raw size in the open portion

    def add(self, owner: _T, extents: Sequence[Extent]) -> Iterator[Portion[_T]]:
        """The portions that are complete by now. Raises :class:`ObjectCorrupt` for an impossible place or extent."""
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
        """The portion gathered so far, complete or not. The next content begins a new one."""
        taken, self._portion = self._portion, Portion()
        self._known = {}
        return taken

    @property
    def empty(self) -> bool:
        """Whether nothing was gathered since the last portion."""
        return not self._portion.parts

    def _ripe(self, extents: Sequence[Extent]) -> bool:
        portion = self._portion
        if len(portion.parts) >= MOST_PARTS or portion.given >= MOST_GIVEN:
            return True
        return portion.size >= ENOUGH and not (extents and extents[0].place.id in self._known)

    def _too_large_with(self, place: Place) -> bool:
        """Whether a portion must end inside a content: a large one is spread over several portions."""
        size = self._portion.size
        return size >= ENOUGH or size + PAGE + place.raw > ROOM

    def _include(self, place: Place, offset: int) -> tuple[int, int, int]:
        """The chunk's number, start and plain size, now that it is in the portion.

        ``offset``: of the chunk's first byte in the content, in bytes, negative when it begins before.
        """
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
    """A check that an honest writer could have made this place, before memory is taken for its chunk.

    Raises :class:`ObjectCorrupt`, naming ``what``, or the pack when that is empty.
    """
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
