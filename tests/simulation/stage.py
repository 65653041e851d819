"""One thread per actor, one baton: exactly one runs, and who runs next is a seeded choice.

Actors are ordinary code in ordinary threads. Wherever they touch something that outlives them (a store, the catalog,
the wire) they pass :meth:`Stage.point`; there, and only there, the schedule may take the baton away, let days pass,
freeze the actor until another day, or kill it. A killed actor can't touch anything any more: whatever it does while it
unwinds (``finally``, ``except BaseException``) is stopped at its next point, so what outlives it is what a killed
process leaves behind.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tests.simulation.clock import DAY, HOUR, SECOND, Clock

_THREADS = ThreadPoolExecutor(16, thread_name_prefix="actor")
_MOST_POINTS = 50_000  # of one schedule; the longest of the ten thousand has some hundreds
_IDLE_LOOKS = 30  # a second apart, in which no actor used any processor time: they wait for each other
_A_MILLISECOND = 1_000_000  # what two looks cost themselves
_KEPT_LINES = 600
_LONG = 220  # points of a usual schedule
_TICKS = (SECOND // 1000, SECOND // 50, SECOND // 3)
_FREEZES = (0, 0, 0, 1, 1, 7, 8, 20)  # days; 0 is an hour
_HELD_AT = ("put r/", "sends r/", "agent asks", "agent remembers", "list r/", "erase", "wrote the catalog")
_RESTARTS = (SECOND, SECOND, HOUR)


class Crashed(BaseException):
    """The actor's process is gone."""


@dataclass(frozen=True, slots=True)
class Temper:
    """How wild a schedule is. ``switch``: the chance at each point that somebody else goes on. ``crash_at``,
    ``freeze_at``: numbers of points where who acts is killed or stands still, chosen beforehand so that late points are
    as likely as early ones. ``dear``: the chance of either at a point where a mistake would cost data."""

    switch: float = 0.0
    crash_at: frozenset[int] = frozenset()
    freeze_at: frozenset[int] = frozenset()
    dear: float = 0.0
    dear_freezes: tuple[int, ...] = ()  # days to choose from at such points; empty: any
    fault: float = 0.0
    hold: tuple[str, int] = ("", 0)  # who first comes to a point that begins so stands still for that many days

    @classmethod
    def of(cls, rng: random.Random) -> Temper:
        """A temper for one schedule: calm ones find what lies deep, wild ones what lies wide, and those that hold
        somebody just before what can't be undone find what nearly never happens."""
        theme = rng.random()
        if theme < 0.1:
            what = rng.choice(
                ("put r/", "sends r/", "agent asks", "agent remembers", "list r/", "erase", "wrote the catalog")
            )
            return cls(switch=rng.choice((0.03, 0.2)), hold=(what, rng.choice((8, 20))))
        if theme < 0.4:
            return cls(switch=rng.choice((0.03, 0.2)), dear=0.4, dear_freezes=(0, 1, 8, 20))
        return cls(
            switch=rng.choice((0.03, 0.1, 0.3, 0.6)),
            crash_at=frozenset(rng.sample(range(_LONG), rng.choice((0, 0, 1, 2)))),
            freeze_at=frozenset(rng.sample(range(_LONG), rng.choice((0, 1, 2, 4)))),
            dear=rng.choice((0.0, 0.0, 0.05, 0.2)),
            fault=rng.choice((0.0, 0.0, 0.005, 0.02)),
        )


CALM = Temper()


@dataclass(eq=False, slots=True)
class Actor:
    """``asleep_until``: nanoseconds; it does nothing before. ``frozen``: not even its beats (a suspended machine);
    otherwise it is only slow (a long upload), and whatever it renews by itself is renewed."""

    name: str
    tasks: deque[Callable[[], None]]
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    dead: bool = False
    ended: bool = False  # by the world's failure: no further task
    asleep_until: int = 0
    frozen: bool = False


class Stage:
    """Runs actors to their ends. ``trace`` keeps the last lines of what happened, for people."""

    def __init__(self, rng: random.Random, clock: Clock, temper: Temper) -> None:
        self.rng, self.clock, self.temper = rng, clock, temper
        self.trace: deque[str] = deque(maxlen=_KEPT_LINES)
        self.points = self.crashes = self.freezes = 0
        self.after_jump: Callable[[], None] = lambda: None  # called behind each jump of the clock, while nobody acts
        self._actors: list[Actor] = []
        self._current: Actor | None = None
        self._over = threading.Semaphore(0)
        self._failure: BaseException | None = None

    # --- for actors ------------------------------------------------------------------------------------------------

    def point(self, what: str, *, dear: bool = False, mortal: bool = True, brisk: bool = False) -> None:
        """The current actor is about to do, or has just done, ``what``. ``mortal``: it may die here; ``brisk``: it does
        not stand still here."""
        me = self._current
        if me is None:  # nobody acts: the world itself is looking
            return
        if me.dead:
            raise Crashed
        self.points += 1
        if self.points > _MOST_POINTS:
            raise AssertionError(f"a schedule that does not end; last: {self.trace[-1]}")
        rng, temper = self.rng, self.temper
        self.clock.advance(rng.choice(_TICKS))
        self.note(what, me.name)
        chance = rng.random() if dear else 1.0
        if mortal and (self.points in temper.crash_at or chance < temper.dear / 4):
            self.crashes += 1
            me.dead = True
            self.note("is killed", me.name)
            raise Crashed
        if brisk:
            self._pass_on(me)
        elif temper.hold[0] and what.startswith(temper.hold[0]) and not self.freezes:
            self.freezes += 1
            self._lie_down(me, self._until_midnight(temper.hold[1]), frozen=True)
        elif self.points in temper.freeze_at or chance < temper.dear:
            self.freezes += 1
            days = rng.choice((dear and temper.dear_freezes) or _FREEZES)
            self._lie_down(me, self._until_midnight(days) if days else HOUR, frozen=rng.random() < 0.6)
        elif rng.random() < temper.switch:
            self._pass_on(me)

    def sleep(self, days: int) -> None:
        """The current actor waits for the midnight after so many days, of its own will: so do the others, and so they
        meet."""
        assert self._current is not None
        self._lie_down(self._current, self._until_midnight(days), frozen=False)

    def fault(self) -> bool:
        """Whether the store fails the current call."""
        me = self._current
        if me is None or me.dead or not self.temper.fault:
            return False
        return self.rng.random() < self.temper.fault

    def require_alive(self) -> None:
        """Raise :class:`Crashed` in an actor that is dead already."""
        if self._current is not None and self._current.dead:
            raise Crashed

    def note(self, line: str, name: str = "--") -> None:
        """A line of the trace."""
        self.trace.append(f"{self.clock.now():%m-%d %H:%M:%S}  {name:<12} {line}")

    @property
    def actor(self) -> str:
        """Who acts; empty: nobody."""
        return self._current.name if self._current else ""

    def is_frozen(self, name: str) -> bool:
        """Whether this actor's machine stands still."""
        return any(each.name == name and each.frozen for each in self._actors)

    # --- for the world ---------------------------------------------------------------------------------------------

    def act(self, lives: Mapping[str, Iterable[Callable[[], None]]]) -> None:
        """Run every actor's tasks, one behind another, all actors interleaved. A crash ends a task; the next one starts
        with nothing but what is durable. Raises what a task raised."""
        self._actors = [Actor(name, deque(tasks)) for name, tasks in lives.items()]
        for actor in self._actors:
            _THREADS.submit(self._body, actor)
        self._wake_next()
        self._wait_for_the_end()
        self._current = None
        if self._failure is not None:
            raise self._failure

    def skip(self, ns: int) -> None:
        """Time passes while nobody acts."""
        acting, self._current = self._current, None
        self.clock.advance(ns)
        for each in self._actors:
            if each.frozen and each.asleep_until <= self.clock.ns:
                each.frozen = False
        self.after_jump()
        self._current = acting

    # --- inside ----------------------------------------------------------------------------------------------------

    def _wait_for_the_end(self) -> None:
        """However long that takes on a busy machine: only actors that do nothing at all are given up."""
        idle, used = 0, -1
        while not self._over.acquire(timeout=1.0):
            before, used = used, time.process_time_ns() - time.thread_time_ns()  # of the actors' threads
            idle = idle + 1 if used - before < _A_MILLISECOND else 0
            if idle > _IDLE_LOOKS:
                raise AssertionError(f"the actors wait for each other; last: {self.trace[-1] if self.trace else '-'}")

    def _body(self, me: Actor) -> None:
        me.turn.acquire()
        try:
            while me.tasks and not me.ended:
                me.dead = False
                try:
                    me.tasks.popleft()()
                except Crashed:
                    if not me.ended and me.tasks:
                        me.dead = False
                        self._lie_down(me, self.rng.choice(_RESTARTS), frozen=False)
        except Crashed:
            pass
        except BaseException as failure:  # noqa: BLE001 — handed to the world, which raises it
            if self._failure is None:
                self._failure = failure
                for other in self._actors:
                    other.dead = other.ended = True
        finally:
            self._actors.remove(me)
            self._wake_next()

    def _lie_down(self, me: Actor, ns: int, *, frozen: bool) -> None:
        me.asleep_until, me.frozen = self.clock.ns + ns, frozen
        self.note(f"{'is frozen' if frozen else 'waits'} for {ns / DAY:.3g} days", me.name)
        self._pass_on(me)

    def _until_midnight(self, days: int) -> int:
        return days * DAY - self.clock.ns % DAY

    def _pass_on(self, me: Actor) -> None:
        """Somebody else's turn, perhaps ours again."""
        chosen = self._choose()
        if chosen is not me:
            self._current = chosen
            chosen.turn.release()
            me.turn.acquire()
        if me.dead:
            raise Crashed

    def _wake_next(self) -> None:
        if not self._actors:
            self._over.release()
            return
        self._current = self._choose()
        self._current.turn.release()

    def _choose(self) -> Actor:
        now = self.clock.ns
        awake = [each for each in self._actors if each.ended or each.asleep_until <= now]
        if awake:
            return awake[self.rng.randrange(len(awake))]
        first = min(self._actors, key=lambda each: each.asleep_until)
        self.skip(first.asleep_until - now)
        return first
