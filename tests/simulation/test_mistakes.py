"""The simulation finds mistakes: each test makes one in the real code, and the oracle must see a point lost.

A mistake is made in the source's own text, so that a test whose text is gone from the code fails instead of proving
nothing. One line of defence is often not enough to remove: where two hold, both are taken away.
"""

from __future__ import annotations

import ast
import inspect
import random
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any
from unittest import mock

import pytest

from drbackup.controller.backup import commit, run
from drbackup.controller.catalog import lifecycle, packs, sessions
from drbackup.controller.collect import collect
from drbackup.controller.collect.collect import Collector
from drbackup.model import collect as model
from tests.simulation import city, play
from tests.simulation.oracle import Lost
from tests.simulation.stage import Temper
from tests.simulation.world import Task, World

pytestmark = pytest.mark.timeout(3600)  # the last net only: a schedule is bound by its steps, see Stage
MOST = 500  # schedules until a mistake must be found
Mistake = tuple[ModuleType, str, str]  # where, text, other text

MISTAKES: dict[str, list[Mistake]] = {
    "erases at once what it condemns": [
        (model, "(Act.ERASE if copy.condemned_ns else Act.CONDEMN)", "Act.ERASE"),
        (collect, "lifecycle.still_condemned(copies)", "copies"),
    ],
    "believes what it read of the records the last time, and that nobody is busy": [
        (collect, "return surveyor.survey(frozenset(without))", "return _seen_before(self, surveyor)"),
        (sessions, "for row in rows", "for row in rows[:0]"),
    ],
    "lets a record come however late": [
        (commit, "store.sign_put(name, len(data), hashlib.sha256(data).digest())", "None"),
        (run, "if age > SESSION_MOST", "if age is None"),
    ],
    "relies on condemned packs and on nobody being busy": [
        (packs, "pack_copies.c.condemned_ns == 0,", ""),
        (lifecycle, "(times.condemned_ns != 0)", "(times.retired_ns != 0)"),
        (lifecycle, "pack_copies.c.condemned_ns != 0", "pack_copies.c.condemned_ns < 0"),
        (sessions, "for row in rows", "for row in rows[:0]"),
    ],
    "drops the newest point": [
        (model, "if reasons:\n        return tuple(reasons)", "reasons = []"),
    ],
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_simulation_finds_a_collector_that(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    late = mistake.startswith("lets a record")
    monkeypatch.setattr(play, "cast", lambda world, rng: small_cast(world, rng, late))
    monkeypatch.setattr(Temper, "of", late_temper if late else wild_temper)
    with ExitStack() as stack:
        stage = stack.enter_context(play.theatre())
        stage.prepare()  # the past was without mistakes
        for each in MISTAKES[mistake]:
            stack.enter_context(made(*each))
        for seed in range(0, 4 * MOST, 4):  # cities that lock nothing: there only the order of steps protects
            try:
                stage.play(seed)
            except Lost:
                return
    pytest.fail(f"{MOST} schedules lost nothing")


def small_cast(world: World, rng: random.Random, late: bool) -> dict[str, list[Task]]:
    """One run and two collects: enough for each of these mistakes, and quick."""
    system, source = rng.choice(list(city.SOURCES))
    first = [world.wait(2)] if late else []
    return {
        system: [world.back_up(system, source)],
        "collector": [*first, world.collect, world.wait(8), world.collect],
    }


def wild_temper(rng: random.Random) -> Temper:
    return Temper(switch=rng.choice((0.1, 0.3, 0.6)), freeze_at=frozenset(rng.sample(range(150), 2)))


def late_temper(_rng: random.Random) -> Temper:
    return Temper(switch=0.2, hold=("put r/", 20))


@contextmanager
def made(module: ModuleType, text: str, other: str) -> Iterator[None]:
    """The one function of ``module`` that says ``text``, with ``other`` in its place."""
    tree = ast.parse(inspect.getsource(module))
    functions = list(_functions_saying(tree.body, module, text, inspect.getsource(module)))
    assert len(functions) == 1, f"{module.__name__} says {text!r} in {len(functions)} functions"
    owner, name, source = functions[0]
    room: dict[str, Any] = {**vars(module), "_seen_before": _seen_before}
    exec(compile(source.replace(text, other), f"<mistaken {name}>", "exec"), room)
    with mock.patch.object(owner, name, room[name]):
        yield


def _functions_saying(nodes: Iterable[ast.stmt], owner: Any, text: str, whole: str) -> Iterator[tuple[Any, str, str]]:
    """Owner, name and source of each function that says it, also those of classes."""
    for node in nodes:
        if isinstance(node, ast.ClassDef):
            yield from _functions_saying(node.body, getattr(owner, node.name), text, whole)
        elif isinstance(node, ast.FunctionDef):
            begin = min([node.lineno, *(each.lineno for each in node.decorator_list)]) - 1
            source = textwrap.dedent("\n".join(whole.splitlines()[begin : node.end_lineno]))
            if text in source:
                yield owner, node.name, source


_LAST: list[Any] = [None, None]  # a schedule's catalog, the last survey made with it


def _seen_before(collector: Collector, surveyor: Any) -> Any:
    """What this collect sees of the packs, and what the one before saw of the records."""
    survey = surveyor.survey(frozenset())
    last = _LAST[1] if _LAST[0] is collector.vaults.catalog else survey
    _LAST[:] = collector.vaults.catalog, survey
    return type(survey)(last.needs, survey.copies, survey.records, survey.notes)
