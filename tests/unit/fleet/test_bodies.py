"""Memory for packs on their way through: used again, and never twice at once."""

from __future__ import annotations

import mmap

from drbackup.fleet.bodies import Bodies
from drbackup.vault.pack import BUFFER_SIZE
from drbackup.wire.framing import MAX_BODY


def test_memory_given_back_is_taken_again_and_memory_in_use_is_not() -> None:
    bodies = Bodies()
    first, second = bodies.take(10), bodies.take(20)
    assert first.obj is not second.obj
    used = first.obj
    bodies.give_back(first)
    third, fourth = bodies.take(1 << 20), bodies.take(1)
    assert third.obj is used
    assert fourth.obj is not used
    assert (len(third), len(fourth)) == (1 << 20, 1)


def test_a_body_as_large_as_any_may_be_finds_room_and_is_not_kept() -> None:
    bodies = Bodies()
    large = bodies.take(MAX_BODY)
    assert len(large) == MAX_BODY > BUFFER_SIZE
    assert isinstance(large.obj, mmap.mmap)
    bodies.give_back(large)
    bodies.give_back(b"never lent")
    assert bodies.take(1).obj is not large.obj


def test_what_is_kept_is_bounded() -> None:
    bodies = Bodies()
    lent = [bodies.take(1) for _ in range(9)]
    for each in lent:
        bodies.give_back(each)
    again = [bodies.take(1) for _ in lent]
    assert len({id(each.obj) for each in lent} & {id(each.obj) for each in again}) == 4
