"""How often each chunk will still be used by a walk over a whole tree, counted before any content is fetched.

A chunk that several files share is used again long after its neighbours. A small pack with one day's changes is used
piece by piece during the whole walk. With these counts a pack is fetched once, and the little that is wanted later is
kept. Without them the store is asked again each time.

The memory is bounded, because a tree may be hostile or very large. What is not counted is fetched when it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from drbackup.vault.pack import PACK_CHUNKS
from drbackup.vault.suite import MAX_CHUNK
from drbackup.vault.tree import Extent
from drbackup.wire.messages import Place

MOST_PACKS = 4096
MOST_COUNTED = 4 << 20  # chunks that have a counter, of one byte each
_MOST_USES = 255  # uses: a counter that has come here means so many or more, and is not counted down again


class _PackDemand:
    """What is needed of one pack."""

    __slots__ = ("end", "first", "left", "size", "uses")

    def __init__(self) -> None:
        self.uses = bytearray()  # uses still to come, by the chunk's ordinal
        self.first = -1  # the first byte of the pack that is ever needed; -1: none yet
        self.end = 0  # the byte behind the last one that is ever needed
        self.size = 0  # sealed bytes of all chunks that are ever needed
        self.left = 0  # sealed bytes of the chunks that are still needed


class Demand:
    """The uses of chunks that are still to come. Not thread-safe: its owner holds a mutex, or fills it before."""

    def __init__(self) -> None:
        self._packs: dict[bytes, _PackDemand] = {}
        self._counters = 0

    @property
    def full(self) -> bool:
        """Whether a bound is reached, so that no further pack is counted."""
        return self._counters >= MOST_COUNTED or len(self._packs) >= MOST_PACKS

    def add(self, extents: Sequence[Extent]) -> None:
        """The uses by one content that will be read are counted afterwards, as far as the bounds allow.

        Impossible places are left out. An error is raised when they are read.
        """
        for extent in extents:
            place = extent.place
            if not 0 <= place.ordinal < PACK_CHUNKS or not 0 <= place.size <= 2 * MAX_CHUNK or place.offset < 0:
                continue
            pack = self._packs.get(place.pack)
            if pack is None or place.ordinal >= len(pack.uses):
                pack = self._with_counter(place)
                if pack is None:
                    return
            uses = pack.uses[place.ordinal]
            if not uses:
                pack.size += place.size
                pack.left += place.size
                pack.first = place.offset if pack.first < 0 else min(pack.first, place.offset)
                pack.end = max(pack.end, place.offset + place.size)
            if uses < _MOST_USES:
                pack.uses[place.ordinal] = uses + 1

    def span(self, pack: bytes) -> tuple[int, int] | None:
        """(first byte, end) of all that is ever needed of a pack, if it is at least half of the bytes between them."""
        demand = self._packs.get(pack)
        if demand is None or 2 * demand.size < demand.end - demand.first:
            return None
        return demand.first, demand.end

    def used(self, place: Place, times: int) -> None:
        """That many uses of a chunk are over, and not counted any more."""
        pack = self._counted(place)
        if pack is None or not 0 < (uses := pack.uses[place.ordinal]) < _MOST_USES:
            return
        pack.uses[place.ordinal] = max(uses - times, 0)
        if uses <= times:
            pack.left -= place.size

    def wanted(self, place: Place) -> bool:
        """Whether a chunk will be used again."""
        return (pack := self._counted(place)) is not None and pack.uses[place.ordinal] > 0

    def left(self, pack: bytes) -> int:
        """The sealed bytes of a pack's chunks that will be used again."""
        demand = self._packs.get(pack)
        return demand.left if demand is not None else 0

    def _with_counter(self, place: Place) -> _PackDemand | None:
        """The demand on a chunk's pack, with a counter for the chunk; None where a bound does not allow it."""
        pack = self._packs.get(place.pack)
        if pack is None:
            if self.full:
                return None
            pack = self._packs[place.pack] = _PackDemand()
        more = place.ordinal + 1 - len(pack.uses)
        if self._counters + more > MOST_COUNTED:
            return None
        pack.uses += bytes(more)
        self._counters += more
        return pack

    def _counted(self, place: Place) -> _PackDemand | None:
        """The demand on a chunk's pack, if the chunk has a counter."""
        pack = self._packs.get(place.pack)
        return pack if pack is not None and 0 <= place.ordinal < len(pack.uses) else None
