"""Nobody picks the easy point: the lot is decided by the evidence before, and by nothing else."""

from __future__ import annotations

from collections import Counter

from drbackup.controller.drills.selection import lot


def test_the_lot_can_be_drawn_again_by_anybody() -> None:
    assert [lot(b"\x01" * 32, "store", 5) for _ in range(3)] == [lot(b"\x01" * 32, "store", 5)] * 3


def test_the_lot_stays_below_the_count_and_reaches_every_number() -> None:
    drawn = Counter(lot(bytes([seed]) * 32, "registry/older", 4) for seed in range(200))
    assert set(drawn) == {0, 1, 2, 3}
    assert min(drawn.values()) > 20


def test_different_purposes_draw_differently() -> None:
    seeds = [bytes([number]) * 32 for number in range(50)]
    assert [lot(seed, "a", 100) for seed in seeds] != [lot(seed, "b", 100) for seed in seeds]
