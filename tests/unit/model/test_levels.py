"""The level table is whole, and says what nobody has compared with the standard's text."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from drbackup.model.levels import LevelTable

TABLE = Path(__file__).parents[3] / "policies" / "levels" / "gbt20988-2007.yaml"


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return loaded


def test_the_2007_table_has_six_levels_of_seven_elements_and_says_it_is_withdrawn(values: dict[str, Any]) -> None:
    table = LevelTable.model_validate(values)
    assert sorted(table.levels) == [1, 2, 3, 4, 5, 6]
    assert len(table.elements) == 7
    assert "2026-01-01" in table.status
    assert "GB/T 20988-2025" in table.status


def test_confirmed_wording_names_its_source(values: dict[str, Any]) -> None:
    table = LevelTable.model_validate(values)
    for level in table.levels.values():
        for wording in (level.rpo, level.rto, *level.elements.values()):
            assert bool(wording.source) == wording.confirmed


def test_a_higher_level_never_promises_less(values: dict[str, Any]) -> None:
    table = LevelTable.model_validate(values)
    rpos = [table.levels[number].rpo.default for number in range(1, 7)]
    assert rpos == sorted(rpos, reverse=True)
    assert table.defaults("UTC").objectives[4] == (timedelta(days=1), timedelta(days=2))


def test_a_table_that_lacks_a_level_or_an_element_is_refused(values: dict[str, Any]) -> None:
    five = {**values, "levels": {number: level for number, level in values["levels"].items() if number != 6}}
    with pytest.raises(ValidationError, match="it needs 1 to 6"):
        LevelTable.model_validate(five)
    level = values["levels"][3]
    elements = {key: wording for key, wording in level["elements"].items() if key != "plan"}
    with pytest.raises(ValidationError, match="level 3 must have exactly the seven elements; look at: plan"):
        LevelTable.model_validate({**values, "levels": {**values["levels"], 3: {**level, "elements": elements}}})
