"""Which promises a store keeps, found out by trying each.

No promise is assumed: some servers ignore ``If-None-Match``, some never compare a checksum, some have no Object Lock.
Everything that a probe writes lies under ``v1/probe/<time>-<random>/`` and stays there, because no store deletes.
Nothing else is touched.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import msgspec

from drbackup.errors import DrbackupError, Failure, ObjectCorrupt, ObjectExists, ObjectMissing
from drbackup.stores.base import Store
from drbackup.stores.registry import own_trials
from drbackup.stores.trial import Kept, Trial, Weight

RACERS = 8  # threads that write one name at the same moment
BIG = 32 * 1024 * 1024  # bytes: a full pack


class ProbeLine(msgspec.Struct, frozen=True):
    """One promise of a store, and whether it is kept."""

    promise: str  # a sentence for a person
    kept: Kept
    detail: str = ""  # why it is not kept or unknown, or a figure
    weight: Weight = "needed"


def probe(store: Store, now: datetime | None = None) -> tuple[ProbeLine, ...]:
    """Every promise of ``store``, tried, in the order to be read. It takes seconds, and about 40 MiB of room.

    A fault during a trial gives "no" for a needed promise and "unknown" for another. Only a store where nothing can be
    written raises: StoreUnavailable, StoreRefused, StoreFull.
    """
    when = now or datetime.now(UTC)
    place = f"v1/probe/{when:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    store.put(
        f"{place}/reached", b"drbackup store probe\n"
    )  # raises when nothing works: there is nothing to report then
    return tuple(_judge(trial) for trial in _trials(store, place, when))


def needed_kept(lines: tuple[ProbeLine, ...]) -> bool:
    """Whether every promise that a vault needs is kept."""
    return all(line.kept == "yes" for line in lines if line.weight == "needed")


def _trials(store: Store, place: str, when: datetime) -> Iterator[Trial]:
    yield from _general(store, place)
    yield from own_trials(store, place, when)


def _judge(trial: Trial) -> ProbeLine:
    try:
        kept, detail = trial.attempt()
    except DrbackupError as fault:
        kept, detail = ("no" if trial.weight == "needed" else "unknown"), Failure.of(fault).line
    return ProbeLine(trial.promise, kept, detail, trial.weight)


def _general(store: Store, place: str) -> Iterator[Trial]:
    def trial(promise: str, attempt: Callable[[Store, str], tuple[Kept, str]], weight: Weight = "needed") -> Trial:
        return Trial(promise, weight, lambda: attempt(store, place))

    yield trial("an object comes back as it was stored", _whole)
    yield trial("any range can be read, and none past the end", _parts)
    yield trial("a missing object is said to be missing", _missing)
    yield trial("an object is listed as soon as it is stored", _listed, "useful")
    yield trial("a name is never given other bytes (create-once)", _created_once)
    yield trial("the same bytes may be sent again", _retried)
    yield trial(f"of {RACERS} racing writers one wins", _raced)
    yield trial(f"an object of {BIG >> 20} MiB is stored whole", _big)


def _pattern(size: int) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in range(size // 4))


def _whole(store: Store, place: str) -> tuple[Kept, str]:
    body = _pattern(200_000)
    store.put(f"{place}/whole", body)
    return _verdict(store.get(f"{place}/whole") == body, "the bytes came back different")


def _parts(store: Store, place: str) -> tuple[Kept, str]:
    name, body = f"{place}/parts", _pattern(200_000)
    store.put(name, body)
    good = store.get(name, 1001, 5000) == body[1001:6001] and store.get(name, 150_000) == body[150_000:]
    try:
        store.get(name, 199_999, 2)
    except ObjectCorrupt:
        return _verdict(good, "a range came back different")
    return "no", "a range past the end was answered"


def _missing(store: Store, place: str) -> tuple[Kept, str]:
    try:
        store.get(f"{place}/never-written")
    except ObjectMissing:
        return _verdict(store.stat(f"{place}/never-written") is None, "stat sees what was never written")
    return "no", "it gave bytes for a name that was never written"


def _listed(store: Store, place: str) -> tuple[Kept, str]:
    names = [f"{place}/list/{number}" for number in range(20)]
    late = 0
    for name in names:
        store.put(name, name.encode())
        late += name not in {found.name for found in store.list(f"{place}/list/")}
    sizes = {found.name: found.size for found in store.list(f"{place}/list/")}
    if sizes != {name: len(name) for name in names}:
        return "no", "the list is wrong even at the end"
    return _verdict(not late, f"{late} of {len(names)} were not listed at once")


def _created_once(store: Store, place: str) -> tuple[Kept, str]:
    store.put(f"{place}/once", b"first")
    try:
        store.put(f"{place}/once", b"other")
    except ObjectExists:
        return _verdict(store.get(f"{place}/once") == b"first", "it was refused, but the bytes changed")
    return "no", "other bytes were taken under the same name; hashed names are still read by their hash"


def _retried(store: Store, place: str) -> tuple[Kept, str]:
    for _ in range(2):
        store.put(f"{place}/again", b"same bytes")
    return _verdict(store.get(f"{place}/again") == b"same bytes", "the bytes came back different")


def _raced(store: Store, place: str) -> tuple[Kept, str]:
    return _race(store, f"{place}/race")


def _big(store: Store, place: str) -> tuple[Kept, str]:
    data = secrets.token_bytes(1 << 20) * (BIG >> 20)
    name = f"{place}/{hashlib.sha256(data).hexdigest()}"
    store.put(name, data)
    return _verdict(store.get(name) == data, "the bytes came back different")


def _race(store: Store, name: str) -> tuple[Kept, str]:
    """``RACERS`` threads write different bytes under one name at the same moment."""
    start = threading.Barrier(RACERS)

    def write(number: int) -> bool:
        start.wait(30)
        try:
            store.put(name, bytes([number]) * 4096)
        except ObjectExists:
            return False
        return True

    with ThreadPoolExecutor(RACERS) as pool:
        won = [number for number, wins in enumerate(pool.map(write, range(RACERS))) if wins]
    if len(won) != 1:
        return "no", f"{len(won)} writers were told that they had won"
    return _verdict(store.get(name) == bytes([won[0]]) * 4096, "the object is not the winner's")


def _verdict(good: bool, otherwise: str) -> tuple[Kept, str]:
    return ("yes", "") if good else ("no", otherwise)
