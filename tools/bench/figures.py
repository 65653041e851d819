"""From raw steps to rows: drbackup against the fastest peer, paired round by round, beside the goal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from tools.bench.results import OPERATIONS, Results, Step

OURS = "drbackup"
EXTRA = ("borg lz4",)  # shown, but not a peer: it stores a third more
MEMORY_GOAL = 256 << 20
STORED_GOAL = 1.03  # of the smallest peer's
REQUESTS_GOAL = 0.5  # of restic's
BOUND_GOAL = {("dump", "first"): 1.1}  # of the bound `tar | zstd -3 -T2`
_FIRST = {"files": 2.5, "base": 2.5, "dump": 2.0, "images": 3.0}


def goal(set_name: str, place: str, operation: str) -> float:
    """How many times as fast as the fastest peer a step shall be."""
    if place == "s3":
        return 2.0
    if operation == "first":
        return _FIRST.get(set_name, 2.0)
    if operation == "day 2":
        return 3.0 if set_name == "base" else 2.0
    if operation == "no-change":
        return 2.0 if set_name == "files" else 1.0
    return 2.0


@dataclass(frozen=True)
class Row:
    """One step of one set in one kind of place. ``ratios``: wall of the fastest peer by ours, one a round that both
    finished; ``steps``: medians are taken over these, by engine."""

    set: str
    place: str
    operation: str
    steps: dict[str, list[Step]]
    fastest: str
    ratios: tuple[float, ...]

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def goal(self) -> float:
        return goal(self.set, self.place, self.operation)

    @property
    def reached(self) -> bool:
        return self.ratio >= self.goal

    def middle(self, engine: str, value: Callable[[Step], float]) -> float | None:
        """The median of ``value`` over an engine's rounds; None when it has none."""
        return median(map(value, self.steps[engine])) if self.steps.get(engine) else None


def rows(results: Results) -> list[Row]:
    """Every step that drbackup and at least one peer finished, in the order of the sets."""
    found = []
    for place in ("local", "s3"):
        for facts in results.sets:
            for operation in OPERATIONS:
                steps = _steps(results, facts.name, place, operation)
                row = _row((facts.name, place, operation), steps)
                if row is not None:
                    found.append(row)
    return found


def _steps(results: Results, set_name: str, place: str, operation: str) -> dict[str, list[Step]]:
    by_engine: dict[str, list[Step]] = {}
    for step in results.steps:
        if (step.set, step.place, step.operation) == (set_name, place, operation) and not step.failed:
            by_engine.setdefault(step.engine, []).append(step)
    return by_engine


def _row(which: tuple[str, str, str], steps: dict[str, list[Step]]) -> Row | None:
    peers = {name: taken for name, taken in steps.items() if name != OURS and name not in EXTRA}
    if OURS not in steps or not peers:
        return None
    fastest = min(peers, key=lambda name: median(step.wall for step in peers[name]))
    ratios = paired(steps[OURS], peers[fastest], lambda step: step.wall)
    return Row(*which, steps, fastest, ratios) if ratios else None


def paired(ours: Iterable[Step], theirs: Iterable[Step], value: Callable[[Step], float]) -> tuple[float, ...]:
    """Theirs by ours, one a round that both have."""
    mine = {step.round: value(step) for step in ours}
    return tuple(value(step) / mine[step.round] for step in theirs if mine.get(step.round))


def smallest_peer(row: Row) -> tuple[str, float] | None:
    """(engine, bytes) of the peer that stores least after this step."""
    sizes = {
        name: median(step.stored for step in taken)
        for name, taken in row.steps.items()
        if name != OURS and name not in EXTRA
    }
    name = min(sizes, key=lambda each: sizes[each])
    return name, sizes[name]


def peak_memory(results: Results, engine: str) -> int:
    """Bytes of the largest process of all of an engine's steps."""
    return max((step.largest for step in results.steps if step.engine == engine and not step.failed), default=0)
