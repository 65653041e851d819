"""The bytes of each pack that the remaining points still use, counted from their trees with the catalog key.

Points share most of their trees' pages, and a page is one chunk, so each page is read once. Trees are written by the
departments' servers. What they say decides only whether new data may still rely on a pack, never what is removed.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from drbackup.errors import NOT_SOUND, ObjectCorrupt, RestoreMismatch, say
from drbackup.model.point import pack_id
from drbackup.stores.base import Store
from drbackup.vault.keys import Keyring
from drbackup.vault.layout import DATA, TREE
from drbackup.vault.read.reader import PointReader
from drbackup.vault.record import Record, unseal
from drbackup.vault.store_access import StoreFetch
from drbackup.vault.tree import Extent
from drbackup.wire.messages import Place

_LEAST_CHUNK = 16  # bytes: an empty chunk's authentication tag
_MOST_CHUNKS = 1 << 16  # of one pack: a tree that names more is an attack on our memory
_PARTS = 32  # of a chunk, counted one by one: small files share a chunk, and one of them must not count as all of it
_WHOLE = (1 << _PARTS) - 1


@dataclass(slots=True)
class LiveCount:
    """A count of the bytes in use of each pack."""

    sizes: Mapping[tuple[str, bytes], int]  # (domain, pack) → bytes; other packs are not counted
    keyring: Keyring  # the catalog key
    notes: list[str] = field(default_factory=list)  # what a person should look at
    _live: dict[tuple[str, bytes], int] = field(default_factory=dict)  # (domain, pack) → bytes in use so far
    _seen: dict[tuple[str, bytes], bytearray] = field(default_factory=dict)  # 32 bits for each chunk
    _pages: set[tuple[str, bytes, int]] = field(default_factory=set)  # domain, pack, ordinal: read, but not counted
    _uncounted: set[str] = field(default_factory=set)  # domains with a tree that can't be read

    def count(self, record: Record, store: Store, name: str) -> None:
        """The count with what one point uses. A tree that is not sound leaves its whole domain uncounted.

        Raises the store's errors when it does not answer.
        """
        domain = record.domain
        for pack in record.packs:
            self._live.setdefault((domain, pack), 0)
        try:
            root = unseal(record, self.keyring).root
            reader = PointReader(StoreFetch(store), self.keyring, domain, root)
            self._use(domain, TREE, reader.root.top)
            for page in reader.pages():
                if self._use(domain, TREE, page.place):
                    for entry in reader.page(page):
                        for extent in entry.extents:
                            self._use(domain, DATA, extent.place, _parts(extent))
        except (*NOT_SOUND, RestoreMismatch) as bad:
            self._uncounted.add(domain)
            self.notes.append(f"the tree of {name} can't be read, so no pack of {domain} is retired: {bad.message}")

    def result(self, unread: Container[str]) -> dict[tuple[str, bytes], int]:
        """(domain, pack) → bytes in use, without the domains of which not everything was read.

        ``unread``: domains with a record that can't be read; an empty name stands for all domains.
        """
        if "" in unread:
            return {}
        return {key: live for key, live in self._live.items() if key[0] not in self._uncounted and key[0] not in unread}

    def _use(self, domain: str, kind: str, place: Place, parts: int = _WHOLE) -> bool:
        """Whether some of these parts of the chunk were not counted before. They are counted now.

        Raises :class:`ObjectCorrupt` for a place outside its pack.
        """
        key = domain, pack_id(kind, place.pack)
        size = self.sizes.get(key, 0)
        most = min(size // _LEAST_CHUNK, _MOST_CHUNKS)
        if key not in self._live or not 0 <= place.ordinal <= most or not 0 <= place.size <= size:
            if size:
                raise ObjectCorrupt(say("a chunk lies outside its pack {pack}", pack=place.pack.hex()[:12]))
            return kind == TREE and self._first_seen(domain, place)
        seen = self._seen.setdefault(key, bytearray())
        begin = place.ordinal * _PARTS // 8
        end = begin + _PARTS // 8
        if len(seen) < end:
            seen.extend(bytes(end - len(seen)))
        known = int.from_bytes(seen[begin:end], "little")
        if not parts & ~known:
            return False
        seen[begin:end] = (known | parts).to_bytes(_PARTS // 8, "little")
        # The difference of two shares, so that all parts together count as exactly the chunk's size.
        self._live[key] += _share(place.size, known | parts) - _share(place.size, known)
        return True

    def _first_seen(self, domain: str, place: Place) -> bool:
        """Whether a page is new, of a pack that is not counted because no store that is collected has it."""
        page = domain, place.pack, place.ordinal
        new = page not in self._pages
        self._pages.add(page)
        return new


def _parts(extent: Extent) -> int:
    """The parts of its chunk that an extent touches, one bit each; all of them when its place makes no sense."""
    raw, start, end = extent.place.raw, extent.start, extent.start + extent.length
    if not 0 <= start < end <= raw:
        return _WHOLE
    first, last = start * _PARTS // raw, -(-end * _PARTS // raw)
    return (1 << last) - (1 << first)


def _share(size: int, parts: int) -> int:
    return size * parts.bit_count() // _PARTS
