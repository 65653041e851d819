"""Are a point's packs really there?"""

from __future__ import annotations

import hashlib

import pytest

from drbackup.controller.presence import ASK_ONE_BY_ONE, missing_packs, object_name, require_packs
from drbackup.errors import ProtocolViolation, StoreUnavailable
from tests.doubles.faulty_store import FaultyStore, Trouble
from tests.doubles.memory_store import MemoryStore


def packs(count: int) -> list[bytes]:
    return [(b"p" if n % 2 else b"t") + hashlib.sha256(bytes([n])).digest() for n in range(count)]


@pytest.mark.parametrize("count", [3, ASK_ONE_BY_ONE + 1])
def test_missing_and_truncated_packs_are_named_and_no_others(count: int) -> None:
    store, wanted = MemoryStore(), packs(count)
    for pack in wanted[1:]:
        store.put(object_name("db1", pack), b"12345")
    sizes = dict.fromkeys(wanted, 5) | {wanted[2]: 6}
    assert missing_packs(store, "db1", wanted, sizes) == (wanted[0], wanted[2])
    assert missing_packs(store, "db1", wanted[1:], {}) == ()
    assert missing_packs(store, "db2", wanted, {}) == tuple(wanted)


def test_a_store_that_does_not_answer_is_not_an_empty_store() -> None:
    store = FaultyStore(MemoryStore(), [Trouble("stat")])
    with pytest.raises(StoreUnavailable):
        missing_packs(store, "db1", packs(1), {})


@pytest.mark.parametrize("pack", [b"", b"p", b"x" + bytes(32), b"p" + bytes(31), b"p" + bytes(33)])
def test_what_is_no_pack_is_refused(pack: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        require_packs([pack])
