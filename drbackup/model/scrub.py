"""Which copies a rolling scrub reads next, so that every byte is read back within a given time.

Pure: what is stored and the clock are parameters. Nothing is remembered between two slices but when each copy was last
read, so a slice that was killed, skipped or done twice puts nothing out of order.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from drbackup.model.point import PackId

SLICE = timedelta(days=1)  # from one slice to the next


class Copy(msgspec.Struct, frozen=True):
    """One pack's copy in one store. ``pack``: kind letter + SHA-256; ``size`` in bytes; ``read_at`` None: never."""

    number: int
    domain: str
    pack: PackId
    size: int
    stored_at: datetime
    read_at: datetime | None

    @property
    def known_whole(self) -> datetime:
        """When it was last known to be whole: read back, or stored."""
        return self.read_at or self.stored_at


class Wounded(msgspec.Struct, frozen=True):
    """A point with a damaged copy. ``damaged``: the stores where it is known to be; ``others``: those whose copy is not
    known to be. Sorted."""

    point: str
    pinned_at: datetime
    damaged: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def lost(self) -> bool:
        """No copy is whole: nothing can be restored from it in full, unless its copies mend each other."""
        return not self.others

    @property
    def mendable(self) -> bool:
        """There is a second copy to mend with. Two that are both damaged may each have what the other lacks."""
        return len(self.damaged) + len(self.others) > 1


def next_slice(copies: Iterable[Copy], *, now: datetime, within: timedelta) -> tuple[Copy, ...]:
    """What one slice reads, in its order.

    First whatever would otherwise be unread for longer than ``within`` before the next slice comes; then, until the
    slice is its share of all bytes, what was never read, and then what was longest not read. So new points are read
    soon, the promise holds for old ones, and the work is spread evenly.
    """
    all_copies = sorted(copies, key=lambda each: (each.known_whole, each.pack))
    late = [each for each in all_copies if each.known_whole + within <= now + SLICE]
    chosen = {each.number for each in late}
    share = sum(each.size for each in all_copies) * min(1.0, SLICE / within)
    left = share - sum(each.size for each in late)
    more = []
    for each in sorted(all_copies, key=lambda each: each.read_at is not None):  # stable: the oldest first in each half
        if left <= 0:
            break
        if each.number not in chosen:
            more.append(each)
            left -= each.size
    return (*late, *more)
