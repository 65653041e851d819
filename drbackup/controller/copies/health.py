"""How healthy the points' copies in one store are: read back whole and since when, not all of it read yet, or damaged.

It is judged from the records in the store and from what the catalog knows to have been read there. No key is needed,
and nothing but records is read. The points' rungs follow in :meth:`drbackup.controller.catalog.scrub.Scrubs.judge`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from drbackup.controller.copies.read_back import read_records
from drbackup.stores.base import Store
from drbackup.vault.layout import digest_in_name, object_name
from drbackup.vault.record import Record

DAMAGED = -1  # stands where otherwise an instant is, in ns
_PACKS_HELD = 500_000  # names of packs in memory, about 50 MB, so that most records are fetched once

# Domain → pack (kind letter + SHA-256) → UTC ns when it was last read back whole; 0: never. A pack that the store is
# not known to hold whole is not in it.
Reads = dict[str, dict[bytes, int]]


@dataclass(slots=True)
class RecordCache:
    """A store's records, fetched when they are walked. As many as fit are kept for the next walk."""

    store: Store
    evidence_key: bytes  # Ed25519, public
    _held: dict[str, Record] = field(default_factory=dict)
    _packs: int = 0  # named by the records that are held

    def walk(self, names: Iterable[str]) -> Iterator[tuple[str, Record | str]]:
        """A pair for each name: the name, and its record or what is wrong with it. Records that are held come first.

        A record that is not sound is never held, so the next walk fetches it again. Raises the store's errors.
        """
        wanted = list(names)
        for name in wanted:
            if name in self._held:
                yield name, self._held[name]
        not_held = [name for name in wanted if name not in self._held]
        for name, record in read_records(self.store, not_held, self.evidence_key):
            if not isinstance(record, str):
                self._hold(name, record)
            yield name, record

    def _hold(self, name: str, record: Record) -> None:
        if self._packs + len(record.packs) <= _PACKS_HELD:
            self._held[name] = record
            self._packs += len(record.packs)


@dataclass(slots=True)
class CopyHealth:
    """The health of the points' copies in one store, and what is wrong with those that are damaged."""

    # Point → UTC ns since when all of its copy was read back; 0: not all of it yet; DAMAGED.
    since: dict[str, int] = field(default_factory=dict)
    unsound: dict[str, str] = field(default_factory=dict)  # record's name → what is wrong with it
    needed_by: dict[str, list[str]] = field(default_factory=dict)  # pack's object that is not whole → points

    @property
    def proven(self) -> tuple[str, ...]:
        """The ids of the points whose copy was read back whole, sorted."""
        return tuple(sorted(point for point, since in self.since.items() if since > 0))


def judge_copies(records: RecordCache, names: Iterable[str], reads: Reads, *, now_ns: int) -> CopyHealth:
    """The health of the copies whose records have these names. Raises the store's errors.

    A copy is damaged when its record is not sound or one of its packs is not whole. The oldest reading of
    its packs is the time since when it was read back; without packs this is ``now_ns`` (UTC ns).
    """
    health = CopyHealth()
    for name, record in records.walk(names):
        point = digest_in_name(name)
        if isinstance(record, str):
            health.unsound[name] = record
            health.since[point] = DAMAGED
            continue
        whole = reads.get(record.domain, {})
        not_whole = [pack for pack in record.packs if pack not in whole]
        for pack in not_whole:
            health.needed_by.setdefault(object_name(record.domain, pack), []).append(point)
        if not_whole:
            health.since[point] = DAMAGED
        else:
            health.since[point] = min((whole[pack] for pack in record.packs), default=now_ns)
    return health
