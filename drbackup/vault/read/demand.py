"""What of each pack a whole walk over a tree will need: counted before the first byte of content is fetched.

A chunk that several files share is used again long after its neighbours, and a small pack of a day's changes is used
piece by piece all along. Who knows that fetches a pack once and keeps the little that is wanted later; who does not
asks the store again each time.

Bounded, because a tree may be hostile, or merely large: what is not counted is fetched as it comes up.
"""

from __future__ import annotations

from collections.abc import Sequence

from drbackup.vault.pack import PACK_CHUNKS
from drbackup.vault.suite import MAX_CHUNK
from drbackup.vault.tree import Extent
from drbackup.wire.messages import Place

MOST_PACKS = 4096
MOST_COUNTED = 4 << 20  # chunks' numbers, a byte each
_NEVER_USED_UP = 255  # uses; so many or more


class _Need:
    """Of one pack: bytes ``[first, end)`` hold all that was ever needed, ``size`` bytes of them; ``left``: bytes that
    are still needed; ``uses``: of each chunk, by ordinal."""

    __slots__ = ("end", "first", "left", "size", "uses")

    def __init__(self) -> None:
        self.first, self.end, self.size, self.left = -1, 0, 0, 0  # -1: nothing was needed yet
        self.uses = bytearray()


class Foresight:
    """Uses of chunks that are still to come. Not thread-safe: its owner holds a lock, or fills it before."""

    def __init__(self) -> None:
        self._packs: dict[bytes, _Need] = {}
        self._counted = 0

    @property
    def full(self) -> bool:
        """Nothing more is counted."""
        return self._counted >= MOST_COUNTED or len(self._packs) >= MOST_PACKS

    def add(self, extents: Sequence[Extent]) -> None:
        """A content that will be read. Places that can't be are left out: who reads them says what is wrong."""
        for extent in extents:
            place = extent.place
            if not 0 <= place.ordinal < PACK_CHUNKS or not 0 <= place.size <= 2 * MAX_CHUNK or place.offset < 0:
                continue
            need = self._packs.get(place.pack)
            if need is None:
                if self.full:
                    return
                need = self._packs[place.pack] = _Need()
            if (more := place.ordinal + 1 - len(need.uses)) > 0:
                if self._counted + more > MOST_COUNTED:
                    return
                need.uses += bytes(more)
                self._counted += more
            if not need.uses[place.ordinal]:
                need.size += place.size
                need.left += place.size
                need.first = place.offset if need.first < 0 else min(need.first, place.offset)
                need.end = max(need.end, place.offset + place.size)
            need.uses[place.ordinal] = min(need.uses[place.ordinal] + 1, _NEVER_USED_UP)

    def span(self, pack: bytes) -> tuple[int, int] | None:
        """Where all lies that is needed of a pack, if at least half of the bytes there are."""
        need = self._packs.get(pack)
        return (need.first, need.end) if need is not None and 2 * need.size >= need.end - need.first else None

    def used(self, place: Place, times: int) -> None:
        """So many of the uses are over."""
        if (need := self._of(place)) is not None and 0 < need.uses[place.ordinal] < _NEVER_USED_UP:
            need.uses[place.ordinal] = max(need.uses[place.ordinal] - times, 0)
            if not need.uses[place.ordinal]:
                need.left -= place.size

    def wanted(self, place: Place) -> bool:
        """Whether a chunk is used again."""
        return (need := self._of(place)) is not None and need.uses[place.ordinal] > 0

    def left(self, pack: bytes) -> int:
        """Sealed bytes of a pack that are still to be used."""
        need = self._packs.get(pack)
        return need.left if need is not None else 0

    def _of(self, place: Place) -> _Need | None:
        need = self._packs.get(place.pack)
        return need if need is not None and 0 <= place.ordinal < len(need.uses) else None
