"""Playing schedules: a seed's history, cast and temper, then the oracle."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager

from tests.simulation import city
from tests.simulation.clock import DAY
from tests.simulation.determinism import deterministic, seeded
from tests.simulation.durable import SimDatabase
from tests.simulation.stage import CALM, Temper
from tests.simulation.world import Saved, Task, World

HISTORIES = 24  # different pasts; each is made once a process


class Theatre:
    """Plays many schedules with one database. Use inside :func:`theatre`."""

    def __init__(self) -> None:
        self._database = SimDatabase()
        self._histories: dict[int, Saved] = {}

    def play(self, seed: int) -> World:
        """One schedule. Raises :class:`tests.simulation.oracle.Lost`, or what nobody expected."""
        if seed % 100 == 0:
            gc.collect()
        rng = random.Random(seed * 2 + 1)
        history = self._history(seed % HISTORIES)
        with seeded(random.Random(seed * 2)):
            world = World(self._database, seed, Temper.of(rng))
            world.load(history)
            try:
                world.stage.act(cast(world, rng))
                world.oracle.require_all()
            except BaseException as failure:
                failure.add_note(f"seed {seed}; the last steps:\n{world.trace()}")
                raise
        return world

    def _history(self, number: int) -> Saved:
        """Some weeks without any trouble."""
        if number not in self._histories:
            rng = random.Random(number)
            with seeded(random.Random(number)):
                world = World(self._database, number, CALM)
                self._database.load(self._database.empty)
                for _ in range(rng.randrange(1, 5)):
                    for system, source in city.SOURCES:
                        if rng.random() < 0.8:
                            world.stage.act({system: [world.back_up(system, source)]})
                    world.stage.skip(rng.choice((1, 1, 3, 9)) * DAY)
                assert not world.failures
                self._histories[number] = world.save()
        return self._histories[number]


def cast(world: World, rng: random.Random) -> dict[str, list[Task]]:
    """Who acts in this schedule, and what each does one after another."""
    chosen = rng.sample(list(city.SOURCES), rng.choice((1, 2, 2)))
    acts: dict[str, list[Task]] = {}
    for system, source in chosen:
        acts[system] = [world.back_up(system, source)]
        if rng.random() < 0.5:
            acts[system] += [world.wait(rng.choice((0.1, 1, 4, 12))), world.back_up(system, source)]
    return acts


@contextmanager
def theatre() -> Iterator[Theatre]:
    """Where schedules are played. The collector of garbage (Python's) costs a third of the time when it looks often."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        with deterministic():
            yield Theatre()
    finally:
        gc.enable()
        gc.unfreeze()
