"""What a walk will need is counted exactly, and a hostile tree makes it remember no more than a large one."""

from __future__ import annotations

import pytest

from drbackup.vault.pack import PACK_CHUNKS
from drbackup.vault.read import demand
from drbackup.vault.read.demand import Demand
from drbackup.vault.tree import Extent
from drbackup.wire.messages import Place

PACK = bytes(32)


def place(number: int, pack: bytes = PACK, size: int = 1000) -> Place:
    return Place(number.to_bytes(32), pack, number, 500 + number * 1000, size, size)


def whole(number: int, pack: bytes = PACK) -> Extent:
    return Extent(place(number, pack), 0, 1000)


def test_a_chunk_is_wanted_until_its_last_use() -> None:
    seen = Demand()
    seen.add([whole(0), whole(1), whole(0)])
    assert seen.left(PACK) == 2000
    seen.used(place(0), 1)
    assert seen.wanted(place(0))
    seen.used(place(0), 1)
    assert not seen.wanted(place(0))
    assert seen.left(PACK) == 1000
    seen.used(place(0), 5)  # more than was foreseen
    assert seen.left(PACK) == 1000
    assert not seen.wanted(place(7))


def test_a_pack_of_which_little_is_wanted_is_not_asked_for_whole() -> None:
    dense, sparse = Demand(), Demand()
    dense.add([whole(number) for number in range(10)])
    sparse.add([whole(0), whole(9)])
    assert dense.span(PACK) == (500, 10_500)
    assert sparse.span(PACK) is None
    assert Demand().span(PACK) is None


def test_what_is_remembered_of_a_hostile_tree_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demand, "MOST_PACKS", 3)
    monkeypatch.setattr(demand, "MOST_COUNTED", 100)
    seen = Demand()
    seen.add([whole(number, number.to_bytes(32)) for number in range(10)])
    assert seen.full
    assert [seen.left(number.to_bytes(32)) for number in range(10)] == [1000] * 3 + [0] * 7
    other = Demand()
    other.add([whole(90), whole(PACK_CHUNKS - 1), whole(99)])
    assert not other.wanted(place(PACK_CHUNKS - 1))
    other.add([Extent(Place(PACK, PACK, 1 << 31, 1 << 60, 1 << 40, 5), 0, 5), Extent(place(3, size=-5), 0, 5)])
    assert other.left(PACK) == 1000
