"""A working agent is told from a stuck one."""

from __future__ import annotations

import io

from drbackup.fleet.meter import COUNTS_AS_MOVEMENT, CountedReader, MeteredWriter, Movement


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_large_frame_on_a_slow_line_is_seen_to_move() -> None:
    clock = Clock()
    movement = Movement(clock)
    reader = CountedReader(io.BytesIO(bytes(10 * COUNTS_AS_MOVEMENT)), movement)
    clock.now = 100.0
    for _ in range(4):
        reader.read(COUNTS_AS_MOVEMENT // 4)
    assert movement.still_for() == 0.0


def test_heartbeats_alone_are_no_movement() -> None:
    clock = Clock()
    movement = Movement(clock)
    for beat in range(60):
        clock.now = beat * 5.0
        movement.count(80)
    assert movement.still_for() == 295.0


def test_while_we_owe_an_answer_the_agent_is_not_blamed_and_then_starts_afresh() -> None:
    clock = Clock()
    movement = Movement(clock)
    with movement, movement:
        clock.now = 1000.0
        assert movement.still_for() == 0.0
    clock.now = 1010.0
    assert movement.still_for() == 10.0


def test_a_writer_passes_everything_on_and_counts_it() -> None:
    clock = Clock()
    movement = Movement(clock)
    out = io.BytesIO()
    data = bytes(range(256)) * 4096
    clock.now = 7.0
    assert MeteredWriter(out, movement).write(data) == len(data)
    assert out.getvalue() == data
    assert movement.still_for() == 0.0
