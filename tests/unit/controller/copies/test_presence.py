"""Are a point's packs really there?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from drbackup.controller.copies.presence import LISTED_AT_ONCE, missing_packs
from drbackup.errors import ProtocolViolation, StoreUnavailable
from drbackup.stores.base import Stat
from drbackup.vault.layout import object_name, require_packs
from tests.support.doubles.faulty_store import FaultyStore, Trouble
from tests.support.doubles.memory_store import MemoryStore


def packs(count: int) -> list[bytes]:
    return [(b"p" if n % 2 else b"t") + hashlib.sha256(bytes([n])).digest() for n in range(count)]


@pytest.mark.parametrize("objects", [0, 100 * LISTED_AT_ONCE], ids=["by a listing", "one by one"])
def test_missing_and_truncated_packs_are_named_and_no_others(objects: int) -> None:
    store, wanted = MemoryStore(), packs(70)
    for pack in wanted[1:]:
        store.put(object_name("db1", pack), b"12345")
    sizes = dict.fromkeys(wanted, 5) | {wanted[2]: 6}
    assert missing_packs(store, "db1", wanted, sizes, objects=objects) == (wanted[0], wanted[2])
    assert missing_packs(store, "db1", wanted[1:], {}, objects=objects) == ()
    assert missing_packs(store, "db2", wanted, {}, objects=objects) == tuple(wanted)


def test_what_a_late_listing_lacks_is_asked_for_by_name() -> None:
    class Late(MemoryStore):
        def list(self, prefix: str) -> Iterator[Stat]:
            return (stat for number, stat in enumerate(super().list(prefix)) if number % 2)

    store, wanted = Late(), packs(10)
    for pack in wanted:
        store.put(object_name("db1", pack), b"12345")
    assert missing_packs(store, "db1", wanted, dict.fromkeys(wanted, 5)) == ()


def test_a_store_that_does_not_answer_is_not_an_empty_store() -> None:
    store = FaultyStore(MemoryStore(), [Trouble("stat"), Trouble("list")])
    with pytest.raises(StoreUnavailable):
        missing_packs(store, "db1", packs(1), {})


@pytest.mark.parametrize("pack", [b"", b"p", b"x" + bytes(32), b"p" + bytes(31), b"p" + bytes(33)])
def test_what_is_no_pack_is_refused(pack: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        require_packs([pack])
