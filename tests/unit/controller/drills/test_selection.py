"""Nobody picks the easy point: the lot is decided by the evidence before, and by nothing else."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from drbackup.controller.catalog import Catalog
from drbackup.controller.drills.selection import lot, select
from drbackup.model.policy import Policy
from tests.support.cities.long_history import add_points

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)


def test_the_lot_can_be_drawn_again_by_anybody() -> None:
    assert [lot(b"\x01" * 32, "store", 5) for _ in range(3)] == [lot(b"\x01" * 32, "store", 5)] * 3


def test_the_lot_stays_below_the_count_and_reaches_every_number() -> None:
    drawn = Counter(lot(bytes([seed]) * 32, "registry/older", 4) for seed in range(200))
    assert set(drawn) == {0, 1, 2, 3}
    assert min(drawn.values()) > 20


def test_different_purposes_draw_differently() -> None:
    seeds = [bytes([number]) * 32 for number in range(50)]
    assert [lot(seed, "a", 100) for seed in seeds] != [lot(seed, "b", 100) for seed in seeds]


def test_every_older_point_is_in_the_lot_however_many_there_are(tmp_path: Path) -> None:
    policy = Policy.model_validate(
        {
            "system": "s",
            "title": "t",
            "department": "d",
            "level": 4,
            "objectives": {"rpo": "1h", "rto": "8h"},
            "sources": [{"name": "a", "agent": "db1", "sqlite": {"path": "/srv/registry.db"}}],
            "schedule": {"every": "5m"},
            "keep": {"daily": 7},
            "copies": ["main"],
            "drill": {"every": "month", "on": "drill1", "checks": [{"source": "a", "counts": "match"}]},
        }
    )
    with Catalog.open(tmp_path / "catalog.sqlite") as catalog:
        ids = add_points(catalog, "s", "a", [NOW - timedelta(minutes=5 * number) for number in range(10_002)])
        seeds = [bytes([number]) * 32 for number in range(3)]
        drawn = [select(catalog, policy, seed).older for seed in seeds]
    older = sorted(ids[1:])
    assert [point.id for point in drawn if point] == [older[lot(seed, "s/older", 10_001)] for seed in seeds]
