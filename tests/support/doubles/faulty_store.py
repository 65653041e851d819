"""Any store, made to fail at a chosen operation: what the floors above must survive."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from drbackup.controller.home.installation import Installation
from drbackup.errors import ObjectCorrupt, StoreFull, StoreRefused, StoreUnavailable
from drbackup.model.inventory import StoreEntry
from drbackup.stores.base import SignedPut, Stat, Store
from drbackup.stores.registry import open_store

Operation = Literal["put", "get", "check", "mend", "stat", "list", "sign_put", "sign_get", "any"]
Kind = Literal["unavailable", "lost-answer", "full", "refused", "slow", "truncated", "flipped", "call"]


@dataclass
class Trouble:
    """Fail ``times`` operations from the ``at``-th (1 is the first) of this kind of ``operation``.

    ``lost-answer`` does the work, then says unavailable. ``truncated`` and ``flipped`` alter what :meth:`get` returns,
    or, on put, what is stored (silent damage). ``slow`` waits ``seconds`` first. ``call`` runs ``action`` first.
    """

    operation: Operation
    at: int = 1
    kind: Kind = "unavailable"
    times: int = 1
    seconds: float = 0.0
    matching: str = ""  # only names that contain this
    action: Callable[[str], None] | None = None


@dataclass
class FaultyStore:
    """``inner`` with ``troubles``. ``counts`` says how often each operation was asked for, the failed ones too."""

    inner: Store
    troubles: list[Trouble] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = self.inner.name
        self._mutex = threading.Lock()
        self._met: dict[int, int] = {}

    def suffer(self, *troubles: Trouble) -> None:
        """Have these troubles and no other from now on, counting anew."""
        with self._mutex:
            self.troubles[:] = troubles
            self.counts.clear()
            self._met.clear()

    def put(self, name: str, data: bytes | memoryview) -> None:
        trouble = self._meet("put", name)
        self.inner.put(name, _altered(bytes(data), trouble) if trouble else data)
        _lose(trouble, name)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        trouble = self._meet("get", name)
        data = self.inner.get(name, offset, length)
        _lose(trouble, name)
        return _altered(data, trouble) if trouble else data

    def check(self, name: str) -> int:
        """``flipped`` and ``truncated`` make it say that the bytes do not match, as reading them back would."""
        trouble = self._meet("check", name)
        size = self.inner.check(name)
        _lose(trouble, name)
        if trouble is not None and trouble.kind in ("flipped", "truncated"):
            raise ObjectCorrupt(f"{name}: made to be damaged", where=name)
        return size

    def repair(self, name: str, data: bytes | memoryview) -> None:
        trouble = self._meet("mend", name)
        self.inner.repair(name, data)
        _lose(trouble, name)

    def stat(self, name: str) -> Stat | None:
        _lose(self._meet("stat", name), name)
        return self.inner.stat(name)

    def list(self, prefix: str) -> Iterator[Stat]:
        _lose(self._meet("list", prefix), prefix)
        return self.inner.list(prefix)

    def sign_put(self, name: str, size: int, sha256: bytes) -> SignedPut | None:
        _lose(self._meet("sign_put", name), name)
        return self.inner.sign_put(name, size, sha256)

    def sign_get(self, name: str) -> str | None:
        _lose(self._meet("sign_get", name), name)
        return self.inner.sign_get(name)

    def _meet(self, operation: str, name: str) -> Trouble | None:
        """Count the operation; raise or return the trouble that is due."""
        due = None
        with self._mutex:
            self.counts[operation] = self.counts.get(operation, 0) + 1
            for trouble in self.troubles:
                if trouble.operation not in ("any", operation) or trouble.matching not in name:
                    continue
                met = self._met[id(trouble)] = self._met.get(id(trouble), 0) + 1
                if due is None and trouble.at <= met < trouble.at + trouble.times:
                    due = trouble
        if due is not None:
            _raise_or_wait(due, name)
        return due


def faulty(name: str, entry: StoreEntry) -> Store:
    """Opens an installation's store behind a :class:`FaultyStore` without any trouble yet."""
    return FaultyStore(open_store(name, entry))


def break_store(installation: Installation, name: str, *troubles: Trouble) -> FaultyStore:
    """From now on. ``installation`` was opened with ``stores=faulty``."""
    store = installation.store(name)
    assert isinstance(store, FaultyStore)
    store.suffer(*troubles)
    return store


def mend_store(installation: Installation, name: str) -> None:
    break_store(installation, name)


def _raise_or_wait(trouble: Trouble, name: str) -> None:
    if trouble.action is not None:
        trouble.action(name)
    if trouble.kind == "slow":
        time.sleep(trouble.seconds)
    if trouble.kind == "unavailable":
        raise StoreUnavailable(f"{name}: made to fail", where=name)
    if trouble.kind == "full":
        raise StoreFull(f"{name}: made to be full", where=name)
    if trouble.kind == "refused":
        raise StoreRefused(f"{name}: made to refuse", where=name)


def _lose(trouble: Trouble | None, name: str) -> None:
    if trouble is not None and trouble.kind == "lost-answer":
        raise StoreUnavailable(f"{name}: the answer was made to get lost", where=name)


def _altered(data: bytes, trouble: Trouble) -> bytes:
    if trouble.kind == "truncated":
        return data[: len(data) // 2]
    if trouble.kind == "flipped" and data:
        middle = len(data) // 2
        return data[:middle] + bytes([data[middle] ^ 0x01]) + data[middle + 1 :]
    return data
