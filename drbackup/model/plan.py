"""In which order systems come back: waves over the dependency graph, and how long the waiting adds up to.

Hard edges order the waves. A degraded edge (``degraded: true``) orders nothing, so it may be part of a cycle. That
system starts without the dependency, and the plan says that both are to be reconnected later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta

import msgspec

from drbackup.errors import PolicyError, say
from drbackup.model.policy import Policy
from drbackup.model.quantities import format_duration

Graph = Mapping[str, Collection[str]]
"""System → the systems it needs first, hard edges only."""


class Path(msgspec.Struct, frozen=True):
    """A chain of systems that must come back one after the other, with the RTO promised for each."""

    systems: tuple[str, ...] = ()  # first to last
    rtos: tuple[timedelta, ...] = ()  # of each system, in the same order

    @property
    def total(self) -> timedelta:
        """The RTOs together."""
        return sum(self.rtos, timedelta(0))

    def then(self, system: str, rto: timedelta) -> Path:
        """The same chain with one more system at its end."""
        return Path((*self.systems, system), (*self.rtos, rto))

    def __str__(self) -> str:
        parts = zip(self.systems, self.rtos, strict=True)
        return " → ".join(f"{system} {format_duration(rto)}" for system, rto in parts)


class PlanStep(msgspec.Struct, frozen=True):
    """One system's place in the order."""

    system: str
    wave: int  # from 0
    after: tuple[str, ...]  # hard dependencies: all back before this one starts
    reconnect: tuple[str, ...]  # degraded dependencies: joined again once both are back
    waits_for: Path  # the slowest chain of dependencies before it, itself not included


class RecoveryOrder(msgspec.Struct, frozen=True):
    """Steps in an order in which no system comes before what it needs. Systems of one wave may be restored together."""

    steps: tuple[PlanStep, ...]  # by wave, then by name

    @property
    def waves(self) -> tuple[tuple[str, ...], ...]:
        """The systems of each wave."""
        count = max((step.wave for step in self.steps), default=-1) + 1
        return tuple(tuple(step.system for step in self.steps if step.wave == wave) for wave in range(count))


def recovery_plan(policies: Mapping[str, Policy], only: Collection[str] = ()) -> RecoveryOrder:
    """The recovery plan for all systems, or for ``only`` these and what they need.

    Raises :class:`PolicyError` for an unknown system, and for a cycle of hard edges, which it names.
    """
    wanted = _with_dependencies(policies, only or policies.keys())
    graph = {name: hard_dependencies(policies[name]) for name in wanted}
    for cycle in find_cycles(graph):
        raise PolicyError(
            say("systems wait for each other: {cycle}; mark one edge degraded: true", cycle=" → ".join(cycle))
        )
    waves: dict[str, int] = {}
    paths: dict[str, Path] = {}
    steps = []
    for name in _topological(graph):
        after = graph[name]
        waves[name] = 1 + max((waves[other] for other in after), default=-1)
        chains = [paths[other].then(other, policies[other].objectives.rto) for other in after]
        paths[name] = max(chains, key=lambda path: (path.total, path.systems), default=Path())
        soft = tuple(edge.system for edge in policies[name].depends_on if edge.degraded and edge.system in wanted)
        steps.append(PlanStep(name, waves[name], after, soft, paths[name]))
    return RecoveryOrder(tuple(sorted(steps, key=lambda step: (step.wave, step.system))))


def hard_dependencies(policy: Policy) -> tuple[str, ...]:
    """The systems that must be back first, in the file's order, each once."""
    return tuple(dict.fromkeys(edge.system for edge in policy.depends_on if not edge.degraded))


def find_cycles(graph: Graph) -> Iterator[tuple[str, ...]]:
    """Cycles of ``graph``, each as ``("a", "b", "a")``; at least one when there is any.

    Not every cycle is among them, but every cycle has an edge in common with one of them. Names that are no key of
    ``graph`` are ignored.
    """
    left = {name: [other for other in graph[name] if other in graph] for name in sorted(graph)}
    while cycle := _one_cycle(left):
        yield cycle
        left[cycle[-2]].remove(cycle[-1])


def _one_cycle(graph: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    done: set[str] = set()
    for start in graph:
        trail: list[str] = []
        pending: list[tuple[str, Iterator[str]]] = []
        if start not in done:
            trail, pending = [start], [(start, iter(graph[start]))]
        while pending:
            name, rest = pending[-1]
            other = next(rest, None)
            if other is None:
                done.add(name)
                trail.pop()
                pending.pop()
            elif other in trail:
                return (*trail[trail.index(other) :], other)
            elif other not in done:
                trail.append(other)
                pending.append((other, iter(graph[other])))
    return ()


def _topological(graph: Graph) -> list[str]:
    """The systems, each after its dependencies. Those without an order between them are sorted by name.

    So the same policies always give the same plan (Kahn's algorithm).
    """
    waiting = {name: set(needs) for name, needs in graph.items()}
    order: list[str] = []
    while waiting:
        free = sorted(name for name, needs in waiting.items() if not needs)
        order.extend(free)
        waiting = {name: needs.difference(free) for name, needs in waiting.items() if needs}
    return order


def _with_dependencies(policies: Mapping[str, Policy], only: Collection[str]) -> set[str]:
    wanted: set[str] = set()
    pending = list(only)
    while pending:
        name = pending.pop()
        if name not in policies:
            raise PolicyError(say("no policy for system {name}", name=repr(name)), hint="see: drbackup policy check")
        if name not in wanted:
            wanted.add(name)
            pending.extend(hard_dependencies(policies[name]))
    return wanted
