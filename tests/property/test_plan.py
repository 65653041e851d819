"""Whatever the graph: a plan never puts a system before what it needs, or says which systems wait for each other."""

from __future__ import annotations

import itertools
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from drbackup.errors import PolicyError
from drbackup.model.plan import find_cycles, recovery_plan
from drbackup.model.policy import Policy

Edges = dict[str, list[tuple[str, bool]]]
names = [f"s{number}" for number in range(7)]


def policies(edges: Edges) -> dict[str, Policy]:
    return {
        name: Policy.model_validate(
            {
                "system": name,
                "title": name,
                "department": "d",
                "level": 4,
                "objectives": {"rpo": "1h", "rto": f"{number + 1}h"},
                "depends_on": [{"system": other, "degraded": degraded} for other, degraded in edges.get(name, [])],
                "sources": [{"name": "a", "agent": "x", "files": {"paths": ["/a"]}}],
                "schedule": {"every": "30m"},
                "keep": {"daily": 1},
                "copies": ["store"],
            }
        )
        for number, name in enumerate(names)
    }


graphs = st.dictionaries(
    st.sampled_from(names),
    st.lists(st.tuples(st.sampled_from(names), st.booleans()), max_size=4, unique_by=lambda edge: edge[0]),
)


def reaches(edges: Edges, start: str, goal: str) -> bool:
    pending, seen = [start], set()
    while pending:
        for other, degraded in edges.get(pending.pop(), []):
            if not degraded and other not in seen:
                seen.add(other)
                pending.append(other)
    return goal in seen


@given(graphs, st.sets(st.sampled_from(names), max_size=3))
def test_a_plan_is_topological_or_a_circle_is_named(edges: Edges, only: set[str]) -> None:
    city = policies(edges)
    circular = {name for name in names if reaches(edges, name, name)}
    wanted = {name for name in names if not only or name in only or any(reaches(edges, each, name) for each in only)}
    try:
        plan = recovery_plan(city, only)
    except PolicyError as refused:
        assert circular & wanted
        assert any(name in refused.message for name in circular)  # noqa: PT017 - which names may vary
        return
    assert not circular & wanted
    assert {step.system for step in plan.steps} == wanted
    wave = {step.system: step.wave for step in plan.steps}
    position = {step.system: number for number, step in enumerate(plan.steps)}
    for step in plan.steps:
        hard = [other for other, degraded in edges.get(step.system, []) if not degraded]
        assert set(step.after) == set(hard)
        assert all(wave[other] < step.wave and position[other] < position[step.system] for other in hard)
        assert step.wave == max((wave[other] + 1 for other in hard), default=0)
        assert step.waits_for.total == max(all_paths(edges, city, step.system), default=timedelta(0))
    assert [system for members in plan.waves for system in members] == [step.system for step in plan.steps]


def all_paths(edges: Edges, city: dict[str, Policy], name: str) -> list[timedelta]:
    """The sum of every chain before ``name``, walked without cleverness."""
    found = []
    for other, degraded in edges.get(name, []):
        if not degraded:
            rto = city[other].objectives.rto
            found += [rto, *(rto + before for before in all_paths(edges, city, other))]
    return found


@given(graphs)
def test_every_cycle_named_is_one_and_cutting_them_leaves_none(edges: Edges) -> None:
    graph = {name: [other for other, _ in edges.get(name, [])] for name in names}
    cut = {name: list(others) for name, others in graph.items()}
    for cycle in find_cycles(graph):
        assert cycle[0] == cycle[-1]
        assert all(two in graph[one] for one, two in itertools.pairwise(cycle))
        if cycle[-1] in cut[cycle[-2]]:
            cut[cycle[-2]].remove(cycle[-1])
    assert not list(find_cycles(cut))
