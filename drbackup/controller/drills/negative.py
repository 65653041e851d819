"""A store that returns one wrong byte, for negative drills: a check that never failed is unproven itself.

Nothing is ever written or changed. The byte is flipped on the way to the drill host, in the middle of a chunk that a
full restore must open. The chunk is drawn by lot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drbackup.controller.drills.selection import lot
from drbackup.controller.restore.restore import LocatedPoint
from drbackup.errors import PointMissing, say
from drbackup.stores.base import SignedPut, Stat, Store
from drbackup.vault.keys import Keyring
from drbackup.vault.layout import DATA, pack_name
from drbackup.vault.read.reader import PointReader
from drbackup.vault.store_access import StoreFetch
from drbackup.wire.messages import Place


class FlippedStore:
    """A read-only view of ``inner`` in which byte ``at`` of the object ``victim`` has its lowest bit flipped."""

    def __init__(self, inner: Store, victim: str, at: int) -> None:
        self.name = inner.name
        self._inner = inner
        self._victim = victim
        self._at = at

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = self._inner.get(name, offset, length)
        if name != self._victim or not offset <= self._at < offset + len(data):
            return data
        damaged = bytearray(data)
        damaged[self._at - offset] ^= 1
        return bytes(damaged)

    def check(self, name: str) -> int:
        raise NotImplementedError("a negative drill restores; it does not scrub")

    def repair(self, name: str, data: bytes | memoryview) -> None:
        raise NotImplementedError("a negative drill writes nothing")

    def stat(self, name: str) -> Stat | None:
        return self._inner.stat(name)

    def list(self, prefix: str) -> Iterator[Stat]:
        return self._inner.list(prefix)

    def put(self, name: str, data: bytes | memoryview) -> None:
        raise NotImplementedError("a negative drill writes nothing")

    def sign_put(self, name: str, size: int, sha256: bytes) -> SignedPut | None:
        return None

    def sign_get(self, name: str) -> str | None:
        """None, so that the bytes pass through here."""
        return None


def damaged(found: Sequence[LocatedPoint], keyring: Keyring, seed: bytes) -> tuple[list[LocatedPoint], str]:
    """(the same points, one of their domains read from a :class:`FlippedStore`; the damage in words, for the evidence).

    ``seed``: the bytes that decide the lot. Raises :class:`PointMissing` when there is no content to damage.
    """
    candidates = [each for each in found if each.record.packs and each.sealed.totals.bytes]
    if not candidates:
        raise PointMissing("there is no content that could be damaged for a negative drill")
    target = candidates[lot(seed, "negative/point", len(candidates))]
    place = _some_place(target, keyring, seed)
    victim = pack_name(target.record.domain, DATA, place.pack)
    lying = FlippedStore(target.store, victim, place.offset + place.size // 2)
    changed = [
        LocatedPoint(each.point, lying, each.record, each.sealed)
        if each.record.domain == target.record.domain
        else each
        for each in found
    ]
    return changed, f"{target.point.source}: {victim}, byte {place.offset + place.size // 2}"


def _some_place(found: LocatedPoint, keyring: Keyring, seed: bytes) -> Place:
    """A chunk of the point's content, drawn from its first thousand extents. Raises :class:`PointMissing`."""
    reader = PointReader(StoreFetch(found.store), keyring, found.record.domain, found.sealed.root)
    places: list[Place] = []
    for entry in reader.entries():
        places.extend(extent.place for extent in entry.extents)
        if len(places) >= 1000:
            break
    if not places:
        raise PointMissing(say("{source} has no content that could be damaged", source=found.point.source))
    return places[lot(seed, "negative/chunk", len(places))]
