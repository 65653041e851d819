"""Which copies the nightly scrub reads next, so that every byte is read back within a given time.

Pure: what is stored and the clock are parameters. All that is kept from one slice to the next is when each copy was
last read. So a slice that was killed, skipped or done twice does no harm.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from drbackup.model.point import PackId

SLICE = timedelta(days=1)  # from one slice to the next


class Copy(msgspec.Struct, frozen=True):
    """One pack's copy in one store."""

    number: int  # the catalog's, unique
    domain: str
    pack: PackId
    size: int  # bytes
    stored_at: datetime
    read_at: datetime | None  # when it was last read back; None: never

    @property
    def known_whole(self) -> datetime:
        """The instant at which it was last known to be whole: when it was read back, or else stored."""
        return self.read_at or self.stored_at


class Wounded(msgspec.Struct, frozen=True):
    """A point with a damaged copy."""

    point: str  # its id
    pinned_at: datetime
    damaged: tuple[str, ...]  # the stores whose copy is known to be damaged, sorted
    others: tuple[str, ...]  # the other stores with a copy, sorted

    @property
    def lost(self) -> bool:
        """Whether no copy is whole. Then it can be restored in full only if its copies repair each other."""
        return not self.others

    @property
    def mendable(self) -> bool:
        """Whether there is a second copy for a repair. Of two damaged copies, each may have what the other lacks."""
        return len(self.damaged) + len(self.others) > 1


def next_slice(copies: Iterable[Copy], *, now: datetime, within: timedelta) -> tuple[Copy, ...]:
    """The copies that one slice reads, in this order.

    First come those that would else be unread for longer than ``within`` before the next slice. Then the slice is
    filled up to its share of all bytes (``SLICE / within``): with what was never read, then with what was unread the
    longest. So new points are read soon, the promise holds for old ones, and the work is spread evenly.
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
