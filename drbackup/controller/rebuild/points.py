"""Every record of every store, checked, and what is wrong with the chains of records.

The records are the truth about recovery points. A rebuilt catalog has exactly the points whose record is sound in at
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

_PACKS_NAMED = 3  # in the line of one fault


class Origin(msgspec.Struct, frozen=True):
    """The stores that a catalog is rebuilt from, and the keys."""

    stores: Mapping[str, Store]
    evidence_key: bytes  # Ed25519, public
    keyring: Keyring  # the catalog key at least
    opens_data: bool = False  # whether it has the recovery key, too


class Fault(msgspec.Struct, frozen=True):
    """Something that is not as it should be."""

    store: str  # empty: it is not of one store
    name: str  # an object's
    why: str


@dataclass(slots=True)
class FoundPoint:
    """A point with a sound record."""

    identity: str  # the point's id
    name: str  # the record's
    record: Record
    sealed: Sealed  # the record's sealed part, opened
    stores: list[str] = field(default_factory=list)  # where the record is sound

    def point(self, copies: tuple[str, ...]) -> Point:
        """The point as a catalog has it, with copies in these stores."""
        return point_of(self.record, self.sealed, (self.identity, self.name), copies)

    @property
    def source(self) -> str:
        """The source as ``SYSTEM/SOURCE``."""
        return f"{self.record.system}/{self.record.source}"

    def packs(self) -> Iterator[tuple[str, str, bytes]]:
        """The (domain, kind, SHA-256) of every pack that the point needs."""
        for pack in self.record.packs:
            yield self.record.domain, kind_of(pack), digest_of(pack)


def read_points(origin: Origin, faults: list[Fault]) -> dict[str, FoundPoint]:
    """Every point with a sound record by its id, in the order of the commits. What is not sound goes to ``faults``.

    Raises the stores' errors, such as :class:`~drbackup.errors.StoreUnavailable`: a record that could not be read is
    neither sound nor damaged.
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
    """The gaps and branches in each source's chain of records.

    ``collected``: the ids of records that were removed on purpose. They leave no gap.
    """
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
    """The stores that hold the record and all its packs; when none does, those that hold the record.

    The source's next backup completes a copy that is left out. A point without a whole copy can be restored in part.
    ``held``: whether a store holds a pack. What is lacking goes to ``faults``.
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
