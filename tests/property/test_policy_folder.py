"""Whatever stands anywhere in a policy folder, the check answers with findings and never falls over."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drbackup.model.document import parse_document
from tests.support.cities.policy_folder import PolicyFolder

FILES = ("base.yaml", "network.yaml", "inventory.yaml", "levels/gbt20988-2007.yaml")
JUNK = [None, 5, -1, 1.5, True, "x", "", [], {}, [None], [[]], {"a": 1}, "é" * 300, float("inf"), 10**30, "<<", "0s"]

junk = st.sampled_from(JUNK) | st.text(st.characters(exclude_characters="\x85\u2028\u2029", codec="utf-8"), max_size=9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> PolicyFolder:
    return PolicyFolder(Path(tmp_path_factory.mktemp("fuzz")) / "policies")


@given(st.data(), st.sampled_from(FILES), junk)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_value_at_any_place_makes_the_check_raise(
    folder: PolicyFolder, data: st.DataObject, name: str, value: object
) -> None:
    text = (folder.path / name).read_text(encoding="utf-8")
    values: Any = copy.deepcopy(parse_document(text, name).values)
    path = data.draw(st.sampled_from(list(_paths(values))))
    holder = values
    for step in path[:-1]:
        holder = holder[step]
    if path:
        holder[path[-1]] = value
    try:
        folder.write(name, yaml.safe_dump(values if path else value, allow_unicode=True))
        for finding in folder.inspect().findings:
            assert finding.line >= 1
            assert finding.message
            assert finding.lines()
    finally:
        folder.write(name, text)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _paths(inner, (*path, key))
