"""Every record of every store, checked, and what is wrong with their chains.

The records are the truth about recovery points; a rebuilt catalog has exactly the points whose record is sound in at
least one store.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from drbackup.controller.backup.adopt import point_of
from drbackup.errors import (
    NOT_SOUND,
    DrbackupError,
)
from drbackup.model.point import Point, digest_of, kind_of
from drbackup.stores.base import Store
from drbackup.system.ahead import ahead
from drbackup.vault.keys import Keyring
from drbackup.vault.layout import digest_in_name, pack_name
from drbackup.vault.record import Record, Sealed, list_records, read_record, unseal

_PACKS_NAMED = 3  # in one line


class Origin(msgspec.Struct, frozen=True):
    """Where a catalog is rebuilt from. ``evidence_key``: Ed25519 public; ``keyring``: the catalog key at least;
    ``opens_data``: the recovery key, too."""

    stores: Mapping[str, Store]
    evidence_key: bytes
    keyring: Keyring
    opens_data: bool = False


class Fault(msgspec.Struct, frozen=True):
    """Something that is not as it should be. ``name``: an object; ``store`` empty: not one store's."""

    store: str
    name: str
    why: str


@dataclass(slots=True)
class FoundPoint:
    """A point with a sound record. ``stores``: where the record is sound."""

    identity: str
    name: str
    record: Record
    sealed: Sealed
    stores: list[str] = field(default_factory=list)

    def point(self, copies: tuple[str, ...]) -> Point:
        return point_of(self.record, self.sealed, (self.identity, self.name), copies)

    @property
    def source(self) -> str:
        return f"{self.record.system}/{self.record.source}"

    def packs(self) -> Iterator[tuple[str, str, bytes]]:
        """(domain, kind, SHA-256) of every pack it needs."""
        for pack in self.record.packs:
            yield self.record.domain, kind_of(pack), digest_of(pack)


def read_points(origin: Origin, faults: list[Fault]) -> dict[str, FoundPoint]:
    """Every sound point by its id, in the order of the commits; what is not sound is added to ``faults``.

    Raises :class:`~drbackup.errors.StoreUnavailable` and its like: what could not be asked for is neither.
    """
    found: dict[str, FoundPoint] = {}
    for store_name, store in origin.stores.items():

        def read(name: str, store: Store = store) -> Record | DrbackupError:
            try:
                return read_record(store, name, origin.evidence_key)
            except NOT_SOUND as bad:
                return bad

        names = [stat.name for stat in list_records(store)]
        for name, record in ahead(read, names):
            identity = digest_in_name(name)
            if isinstance(record, DrbackupError):
                faults.append(Fault(store_name, name, record.message))
                continue
            if identity not in found:
                try:
                    found[identity] = FoundPoint(identity, name, record, unseal(record, origin.keyring))
                except NOT_SOUND as bad:
                    faults.append(Fault(store_name, name, f"{name}: {bad.message}"))
                    continue
            found[identity].stores.append(store_name)
    return dict(sorted(found.items(), key=lambda each: (each[1].record.committed_ns, each[0])))


def chain_faults(found: Mapping[str, FoundPoint], collected: Container[str] = ()) -> Iterator[Fault]:
    """Gaps and branches of each source's chain of records. ``collected``: ids of those removed on purpose, which leave
    no gap."""
    after: dict[tuple[str, str], list[FoundPoint]] = defaultdict(list)
    for each in found.values():
        previous = each.record.previous
        after[each.source, previous].append(each)
        if previous in collected and previous not in found:
            continue
        if previous and previous not in found:
            why = f"{each.source}: the record {previous[:12]} before point {each.identity[:12]} is nowhere sound"
            yield Fault("", each.name, why)
        elif previous and found[previous].source != each.source:
            yield Fault("", each.name, f"{each.source}: follows a record of {found[previous].source}")
    for (source, previous), each_of in after.items():
        if len(each_of) > 1:
            names = ", ".join(each.identity[:12] for each in each_of)
            begin = previous[:12] or "the beginning"
            yield Fault("", each_of[-1].name, f"{source}: the chain branches at {begin}: {names}")


def whole_copies(
    found: FoundPoint, held: Callable[[str, tuple[str, str, bytes]], bool], faults: list[Fault]
) -> tuple[str, ...]:
    """The stores that hold the record and every pack of it; where none does, those that hold the record.

    A copy that is left out is mended by the source's next backup; one without a whole copy can be restored in part.
    """
    whole = []
    for store in found.stores:
        lost = [pack for pack in found.packs() if not held(store, pack)]
        if not lost:
            whole.append(store)
            continue
        names = ", ".join(pack_name(*pack) for pack in lost[:_PACKS_NAMED])
        names += f" and {len(lost) - _PACKS_NAMED} more" if len(lost) > _PACKS_NAMED else ""
        faults.append(Fault(store, found.name, f"point {found.identity[:12]} lacks {len(lost)} packs: {names}"))
    return tuple(whole or found.stores)
