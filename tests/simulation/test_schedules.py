"""Ten thousand schedules: whatever is killed, frozen or answered too late, every committed point restores.

``DRBACKUP_SIMULATION`` replays or widens: ``seed:4711`` plays that one seed and prints its trace; ``times:10`` plays
ten times as many. A failure names its seed and carries the last steps of its trace.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

from tests.simulation import city, play
from tests.simulation.stage import Temper
from tests.simulation.world import Task, World

pytestmark = pytest.mark.timeout(3600)  # the last net only: a schedule is bound by its steps, see Stage
SCHEDULES, IN_ONE_TEST = 10_000, 500
_WORD, _, _NUMBER = os.environ.get("DRBACKUP_SIMULATION", "").partition(":")
_TIMES = int(_NUMBER) if _WORD == "times" else 1
REPLAYED = [int(_NUMBER)] if _WORD == "seed" else []


@pytest.mark.parametrize("first", [] if REPLAYED else range(0, SCHEDULES * _TIMES, IN_ONE_TEST))
def test_every_committed_point_restores_whatever_the_schedule(first: int) -> None:
    seen: Counter[str] = Counter()
    with play.theatre() as stage:
        for seed in range(first, first + IN_ONE_TEST):
            seen.update(stage.play(seed).census())
    # A simulation in which nothing happens proves nothing.
    for event in ("points", "crashes", "freezes", "failed runs"):
        assert seen[event] > IN_ONE_TEST / 10, seen


@pytest.mark.parametrize("seed", REPLAYED or (0,))
def test_one_seed(seed: int) -> None:
    with play.theatre() as stage:
        print(stage.play(seed).trace())


def test_a_seed_is_one_schedule() -> None:
    with play.theatre() as first, play.theatre() as second:
        for seed in range(30):
            assert first.play(seed).fingerprint() == second.play(seed).fingerprint(), seed


@pytest.mark.parametrize("where", ["sends r/", "put r/"])
def test_a_run_that_stands_still_for_weeks_before_its_last_step_commits_nothing(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it relied on is long collected by then; only the store's clock can know."""

    def cast(world: World, rng: random.Random) -> dict[str, list[Task]]:
        system, source = rng.choice(list(city.SOURCES))
        again = [world.wait(2), world.collect, world.wait(8), world.collect]
        return {system: [world.back_up(system, source)], "collector": again}

    monkeypatch.setattr(play, "cast", cast)
    monkeypatch.setattr(Temper, "of", lambda _rng: Temper(switch=0.1, hold=(where, 20)))
    seen: Counter[str] = Counter()
    with play.theatre() as stage:
        for seed in range(2, 42, 4):  # cities whose stores lock, and sign
            seen.update(stage.play(seed).census())
    assert seen["erased packs"] > 10
    assert seen["failed runs"] == 10
