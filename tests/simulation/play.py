"""Playing schedules: a seed's history, cast and temper, then the oracle."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from drbackup.model.collect import COLLECT_GRACE
from tests.simulation import city
from tests.simulation.clock import DAY
from tests.simulation.determinism import deterministic, seeded
from tests.simulation.durable import SimDatabase
from tests.simulation.stage import CALM, Temper
from tests.simulation.world import Saved, Task, World

HISTORIES = 40  # different pasts; each is made once a process
_SAVED: dict[int, Saved] = {}


class Theatre:
    """Plays many schedules with one database. Use inside :func:`theatre`."""

    def __init__(self, grace: timedelta = COLLECT_GRACE) -> None:
        self.grace = grace
        self._database = SimDatabase()

    def play(self, seed: int) -> World:
        """One schedule. Raises :class:`tests.simulation.oracle.Lost`, or what nobody expected."""
        if seed % 100 == 0:
            gc.collect()
        rng = random.Random(seed * 2 + 1)
        history = self._history(seed % HISTORIES)
        with seeded(random.Random(seed * 2)):
            world = World(self._database, seed, Temper.of(rng), lock_days(seed % HISTORIES), self.grace)
            world.load(history)
            try:
                world.stage.act(cast(world, rng))
                world.require_all()
            except BaseException as failure:
                failure.add_note(f"seed {seed}; the last steps:\n{world.trace()}")
                raise
        return world

    def prepare(self) -> None:
        """Make every past now."""
        for number in range(HISTORIES):
            self._history(number)

    def _history(self, number: int) -> Saved:
        """Some weeks without any trouble."""
        if number not in _SAVED:
            rng = random.Random(number)
            with seeded(random.Random(number)):
                world = World(self._database, number, CALM, lock_days(number))
                self._database.load(self._database.empty)
                # What the first days copied goes out of fashion, then out of retention, and comes back in the schedule.
                for day in range(5):
                    world.fashion = range(4) if day < 2 else range(4, 8)
                    for system, source in city.SOURCES:
                        if rng.random() < 0.8:
                            world.stage.act({system: [world.back_up(system, source)]})
                    world.stage.skip(rng.choice((1, 1, 1, 7)) * DAY)
                    if rng.random() < 0.2:
                        world.stage.act({"collector": [world.collect]})
                world.stage.skip(rng.choice((0, 7)) * DAY)
                world.stage.skip(DAY - world.clock.ns % DAY)
                assert not world.failures
                _SAVED[number] = world.save()
        return _SAVED[number]


def lock_days(history: int) -> int:
    """Half of all cities lock nothing: there only the order of steps protects."""
    return (0, 0, 2, 9)[history % 4]


def cast(world: World, rng: random.Random) -> dict[str, list[Task]]:
    """Who acts in this schedule, and what each does one after another."""
    acts: dict[str, list[Task]] = {}
    for system, source in rng.sample(list(city.SOURCES), rng.choice((1, 1, 1, 2))):
        acts[system] = [world.back_up(system, source)]
        if rng.random() < 0.2:
            acts[system] += [world.wait(rng.choice((1, 7, 8))), world.back_up(system, source)]
        if rng.random() < 0.3:
            acts[system].insert(0, world.wait(rng.choice((1, 7, 8))))
    acts["collector"] = [world.collect]
    long = (
        bool(world.temper.dear_freezes or world.temper.hold[0]) and rng.random() < 0.4
    )  # long enough to condemn and to erase
    for days in (2, 8) if long else rng.choices((1, 7, 8), k=rng.choice((0, 1, 1, 2))):
        acts["collector"] += [world.wait(days), world.collect]
    if world.lock_days and rng.random() < 0.4:
        acts["renewer"] = [world.renew, world.wait(rng.choice((1, 7))), world.renew]
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
