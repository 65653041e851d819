"""The store of the simulation: real Object Lock rules on bytes in memory, and a point of the schedule around each call.

What a crash can leave is decided here: a call may end before it took effect, or after it did but before the caller
heard of it. An object is locked for ``lock_ns`` from when it was stored; removing a locked one is refused and counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Self

from drbackup.errors import ObjectCorrupt, ObjectExists, ObjectMissing, StoreRefused, StoreUnavailable
from drbackup.stores.base import SignedPut, Stat, digest_in_name, require_name, require_prefix
from drbackup.stores.erase import Erased
from drbackup.system.instants import to_ns
from tests.simulation.clock import DAY, MINUTE, SECOND
from tests.simulation.stage import Stage

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SIGNED_FOR = 15 * MINUTE


@dataclass(frozen=True, slots=True)
class Held:
    """One object. Nanoseconds; ``locked_ns``: nobody removes it before."""

    data: bytes
    stored_ns: int
    locked_ns: int


class Address(str):
    """A signed address: the object's name, and the store behind it."""

    __slots__ = ("store",)

    def __new__(cls, name: str, store: SimStore) -> Self:
        address = super().__new__(cls, name)
        address.store = store
        return address

    store: SimStore


def put_signed(url: str, headers: Mapping[str, str], data: bytes, **_how: object) -> None:
    """Stands for :func:`drbackup.stores.s3.signed.put_signed`: whoever sends may have stood still for days before."""
    assert isinstance(url, Address)
    url.store.stage.point(f"sends {short(url)} to {url.store.name}", dear=_is_dear("put", url))
    url.store.put(str(url), data, int(headers["good-until"]))


@dataclass
class SimStore:
    """A bucket with Object Lock. ``listener`` hears of every object that appeared or went, at the very moment."""

    name: str
    stage: Stage
    lock_ns: int = 0
    signs: bool = True
    objects: dict[str, Held] = field(default_factory=dict)
    refusals: int = 0  # of what is locked
    listener: Callable[[SimStore, str, bool], None] = lambda _store, _name, _there: None

    def put(self, name: str, data: bytes | memoryview, good_until: int | None = None) -> None:
        """``good_until``: when a signed address runs out, by the store's own clock at the moment it takes the bytes."""
        fresh = bytes(data)
        # A folder can't refuse what comes late: nothing is promised of a process that stands still for longer than the
        # grace just between its last look at the clock and this.
        self._before("put", name, brisk=not self.signs and name.startswith("v1/r/"))
        if good_until is not None and good_until < self.stage.clock.ns:
            self.stage.note(f"{self.name} refuses {short(name)}: the address ran out")
            raise StoreRefused("the signed address ran out", where=name)
        held = self.objects.get(require_name(name))
        if held is None:
            now = self.stage.clock.ns
            self.objects[name] = Held(fresh, now, now + self.lock_ns if self.lock_ns else 0)
            self.listener(self, name, True)
        elif held.data != fresh:
            raise ObjectExists(f"{name} holds other bytes", where=name)
        self._after("put", name)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self._before("get", name)
        held = self.objects.get(name)
        if held is None:
            raise ObjectMissing(f"{name} is not in store {self.name}", where=name)
        end = len(held.data) if length is None else offset + length
        if offset > len(held.data) or end > len(held.data):
            raise ObjectCorrupt(f"{name} has {len(held.data)} bytes, asked for up to {end}", where=name)
        promised = digest_in_name(name)
        if promised and (offset, length) == (0, None) and hashlib.sha256(held.data).digest() != promised:
            raise ObjectCorrupt(f"{name}: its bytes do not match its name", where=name)
        return held.data[offset:end]

    def check(self, name: str) -> int:
        return len(self.get(name))

    def repair(self, name: str, data: bytes | memoryview) -> None:
        """Nothing is ever damaged here: what is there is right."""
        self.put(name, data)

    def stat(self, name: str) -> Stat | None:
        self._before("stat", name)
        held = self.objects.get(name)
        return None if held is None else self._stat(name, held)

    def list(self, prefix: str) -> Iterator[Stat]:
        """In pages, as buckets do: what comes or goes meanwhile may be in the answer or not."""
        require_prefix(prefix)
        self._before("list", prefix)
        names = [name for name in self.objects if name.startswith(prefix)]
        for number, name in enumerate(names):
            if number and number % 8 == 0:
                self._before("list on", prefix)
            held = self.objects.get(name)
            if held is not None:
                yield self._stat(name, held)

    def sign_put(self, name: str, size: int, sha256: bytes) -> SignedPut | None:
        """The address is the name, the header the instant until which it is good."""
        if not self.signs:
            return None
        good_until = str(self.stage.clock.ns + _SIGNED_FOR)
        return SignedPut(Address(name, self), {"good-until": good_until})

    def sign_get(self, name: str) -> str | None:
        return None

    def unseen(self, name: str) -> bytes | None:
        """What is there, for the oracle: no step of anybody."""
        held = self.objects.get(name)
        return held.data if held else None

    # --- with rights that no store has ---

    def erase(self, name: str) -> Erased:
        """:class:`drbackup.stores.erase.Eraser`. A lock is an answer, and counted."""
        self._before("erase", name)
        held = self.objects.get(name)
        if held is not None and held.locked_ns > self.stage.clock.ns:
            self.refusals += 1
            self.stage.note(f"{self.name} refuses: {short(name)} is locked")
            return Erased(name, gone=False, locked_until=_instant(held.locked_ns))
        if held is not None:
            del self.objects[name]
            self.listener(self, name, False)
        self._after("erase", name)
        return Erased(name, gone=True)

    @property
    def lock_days(self) -> int:
        return self.lock_ns // DAY

    def lock(self, name: str, until: datetime) -> datetime:
        """:class:`drbackup.stores.lock.Locker`: never shortens, never beyond ``lock_days`` from now."""
        self._before("lock", name)
        held = self.objects.get(name)
        if held is None:
            raise ObjectMissing(f"{name} is not in store {self.name}", where=name)
        wanted = to_ns(until) // SECOND * SECOND
        assert wanted <= self.stage.clock.ns + self.lock_ns, "a lock beyond what the inventory allows"
        locked = max(held.locked_ns, wanted)
        self.objects[name] = replace(held, locked_ns=locked)
        self._after("lock", name)
        return _instant(locked)

    def _stat(self, name: str, held: Held) -> Stat:
        return Stat(name, len(held.data), _instant(held.stored_ns))

    def _before(self, what: str, name: str, *, brisk: bool = False) -> None:
        dear = _is_dear(what, name)
        self.stage.point(f"{what} {short(name)} in {self.name}", dear=dear, brisk=brisk)
        if self.stage.fault():
            self.stage.note(f"{self.name} does not answer")
            raise StoreUnavailable(f"{self.name} does not answer", where=name)

    def _after(self, what: str, name: str) -> None:
        """It took effect; the caller may never hear of it."""
        dear = _is_dear(what, name)
        self.stage.point(f"{what} {short(name)} done", dear=dear)
        if self.stage.fault():
            self.stage.note(f"{self.name}'s answer is lost")
            raise StoreUnavailable(f"{self.name}'s answer was lost", where=name)


def _instant(ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=ns // 1000)


def _is_dear(what: str, name: str) -> bool:
    return what == "erase" or (what == "put" and name.startswith("v1/r/"))


def short(name: str) -> str:
    """A name as a person reads it in a trace."""
    head, _, digest = name.removeprefix("v1/").rpartition("/")
    time, dash, rest = digest.rpartition("-")
    return f"{head}/{time}{dash}{rest[:8]}"
