"""Where the points' copies in one store judge_copies: all read back since when, not all of it yet, or damaged.

Judged from the records in the store and from what the catalog knows to have been read there. Needs no key, and reads
nothing but records. What follows for the points' rungs is :meth:`drbackup.controller.catalog.scrub.Scrubs.judge`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from drbackup.controller.copies.read_back import read_records
from drbackup.stores.base import Store
from drbackup.vault.layout import digest_in_name, object_name
from drbackup.vault.record import Record

DAMAGED = -1
_KEPT = 500_000  # names of packs held in memory, about 50 MB, so that most records are fetched once
Reads = dict[str, dict[bytes, int]]  # domain → pack → ns of its last reading; a pack that is not whole is not in it


@dataclass(slots=True)
class RecordCache:
    """A store's records, fetched when they are walked; as many as fit are kept for the next walk."""

    store: Store
    evidence_key: bytes
    _held: dict[str, Record] = field(default_factory=dict)
    _packs: int = 0

    def walk(self, names: Iterable[str]) -> Iterator[tuple[str, Record | str]]:
        """(name, the record or what is wrong with it)."""
        wanted = list(names)
        yield from ((name, self._held[name]) for name in wanted if name in self._held)
        fresh = [name for name in wanted if name not in self._held]
        for name, found in read_records(self.store, fresh, self.evidence_key):
            if not isinstance(found, str) and self._packs + len(found.packs) <= _KEPT:
                self._held[name] = found
                self._packs += len(found.packs)
            yield name, found


@dataclass(slots=True)
class CopyHealth:
    """``since``: point → ns since when all of its copy was read back; 0: not all of it yet; :data:`DAMAGED`.
    ``unsound``: object → why, of records; ``needed_by``: object → points, of packs that are not whole."""

    since: dict[str, int] = field(default_factory=dict)
    unsound: dict[str, str] = field(default_factory=dict)
    needed_by: dict[str, list[str]] = field(default_factory=dict)

    @property
    def proven(self) -> tuple[str, ...]:
        return tuple(sorted(point for point, since in self.since.items() if since > 0))

    @property
    def damaged(self) -> tuple[str, ...]:
        return tuple(sorted(point for point, since in self.since.items() if since == DAMAGED))


def judge_copies(records: RecordCache, names: Iterable[str], reads: Reads, *, now_ns: int) -> CopyHealth:
    """Judge every record of ``names``."""
    found = CopyHealth()
    for name, record in records.walk(names):
        identity = digest_in_name(name)
        if isinstance(record, str):
            found.unsound[name] = record
            found.since[identity] = DAMAGED
            continue
        here = reads.get(record.domain, {})
        oldest = min((here.get(pack, DAMAGED) for pack in record.packs), default=now_ns)
        found.since[identity] = oldest
        if oldest == DAMAGED:
            for pack in record.packs:
                if pack not in here:
                    found.needed_by.setdefault(object_name(record.domain, pack), []).append(identity)
    return found
