"""Reading a store back, byte by byte, without any key.

Every record names its packs in the clear and every object's name is the hash of its bytes, so a scrub needs only the
vault's public evidence key. Points whose packs were all read back whole climb to ``checksummed``; points with damage
fall to ``written``. Nothing is written to the store and nothing is taken away: damage is reported and no longer relied
upon by later runs; repair is another command's work.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from drbackup.controller.catalog.packs import Packs
from drbackup.controller.catalog.points import Points
from drbackup.errors import ObjectCorrupt, ObjectMissing, SignatureInvalid
from drbackup.model.point import Rung
from drbackup.stores.base import Store
from drbackup.vault.layout import PREFIX, digest_in_name, pack_name
from drbackup.vault.record import Record, list_records, read_record

_READERS = 4
_AHEAD = 16  # packs asked for before the oldest answer is looked at: bounds the memory to so many packs

Watch = Callable[[int, int, int], None]  # packs done, packs in all, bytes read


@dataclass(frozen=True, slots=True)
class Damage:
    """One object that is not what its name says. ``points``: the ids of the points that need it."""

    name: str
    why: str
    points: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScrubReport:
    """What a scrub of one store saw. ``bytes``: read back; ``proven``: ids of points whose every pack is whole."""

    store: str
    records: int
    packs: int
    bytes: int
    damages: tuple[Damage, ...]
    proven: tuple[str, ...]

    @property
    def good(self) -> bool:
        return not self.damages


def scrub(store: Store, evidence_key: bytes, *, system: str = "", watch: Watch | None = None) -> ScrubReport:
    """Read every record of ``store`` (of one ``system``, or all) and every pack they name.

    Raises :class:`~drbackup.errors.StoreUnavailable` and its like when the store does not answer: what could not be
    read is neither good nor damaged.
    """
    needed, damages, sound = _records(store, evidence_key, system)
    damaged: set[str] = set()
    bytes_read = 0
    for number, (name, size, why) in enumerate(_read_all(store, sorted(needed)), 1):
        bytes_read += size
        if why:
            damages.append(Damage(name, why, tuple(sorted(needed[name]))))
            damaged.update(needed[name])
        if watch is not None:
            watch(number, len(needed), bytes_read)
    proven = tuple(sorted(sound - damaged))
    return ScrubReport(store.name, len(sound), len(needed), bytes_read, tuple(damages), proven)


def remember(points: Points, report: ScrubReport, *, now: datetime) -> int:
    """Let the proven points climb to ``checksummed``, and those with damage fall to ``written``, whatever was proven of
    them before and whatever other copies they have; how many of the proven the catalog knows."""
    known = {point.id for point in points.list(store=report.store)}
    for identity in known & {point for damage in report.damages for point in damage.points}:
        points.fall(identity, now=now)
    climbed = [identity for identity in report.proven if identity in known]
    for identity in climbed:
        points.climb(identity, Rung.CHECKSUMMED, now=now)
    return len(climbed)


def forget_damaged(packs: Packs, report: ScrubReport) -> int:
    """Let no later run rely on what is damaged: its chunks are sent again while the source still has them. How many
    packs that were."""
    names = [damage.name.split("/") for damage in report.damages if damage.name.startswith(f"{PREFIX}d/")]
    for _, _, domain, kind, digest in names:
        packs.forget(domain, report.store, [(kind, bytes.fromhex(digest))])
    return len(names)


def _records(store: Store, evidence_key: bytes, system: str) -> tuple[dict[str, set[str]], list[Damage], set[str]]:
    """(pack object name → ids of the points that need it, damaged records, ids of the sound records)."""
    needed: dict[str, set[str]] = {}
    damages: list[Damage] = []
    sound: set[str] = set()
    for stat in list_records(store, system):
        identity = digest_in_name(stat.name)
        try:
            record = read_record(store, stat.name, evidence_key)
        except (ObjectCorrupt, ObjectMissing, SignatureInvalid) as problem:
            damages.append(Damage(stat.name, problem.message, (identity,)))
            continue
        sound.add(identity)
        for name in _packs(record):
            needed.setdefault(name, set()).add(identity)
    return needed, damages, sound


def _packs(record: Record) -> Iterator[str]:
    for pack in record.packs:
        yield pack_name(record.domain, chr(pack[0]), pack[1:])


def _read_all(store: Store, names: Sequence[str]) -> Iterator[tuple[str, int, str]]:
    """(name, bytes read, what is wrong or empty) of each, in order, several read at once."""
    with ThreadPoolExecutor(_READERS) as pool:
        waiting = [pool.submit(_read_one, store, name) for name in names[:_AHEAD]]
        for number, name in enumerate(names):
            size, why = waiting[number].result()
            if number + _AHEAD < len(names):
                waiting.append(pool.submit(_read_one, store, names[number + _AHEAD]))
            yield name, size, why


def _read_one(store: Store, name: str) -> tuple[int, str]:
    try:
        data = store.get(name)
    except (ObjectMissing, ObjectCorrupt) as problem:
        return 0, problem.message
    if hashlib.sha256(data).hexdigest() != digest_in_name(name):
        return len(data), f"{name}: its bytes do not match its name"
    return len(data), ""
