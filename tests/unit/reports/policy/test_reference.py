"""The reference page and the editors' schemas say what the models say."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from drbackup.reports.policy.schema import MODELS, Which, schema


@pytest.mark.parametrize("which", MODELS)
def test_a_schema_refuses_unknown_keys_and_every_reference_inside_it_resolves(which: Which) -> None:
    made = schema(which)
    text = json.dumps(made)
    for name in re.findall(r"#/\$defs/(\w+)", text):
        assert name in made["$defs"]
    objects = [each for each in _walk(made) if "properties" in each]
    assert objects
    assert all(each.get("additionalProperties") is False for each in objects)


def test_every_key_of_every_model_is_described() -> None:
    for which in MODELS:
        for shape in _walk(schema(which)):
            for key, value in shape.get("properties", {}).items():
                assert value.get("description"), f"{which}: {shape.get('title')}.{key}"


def test_what_the_folder_may_leave_out_is_not_required_by_the_schema() -> None:
    made = schema("policy")
    assert "objectives" not in made["required"]
    assert "required" not in made["$defs"]["Objectives"]


def _walk(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [found for item in value for found in _walk(item)]
    if not isinstance(value, dict):
        return []
    return [value, *(found for item in value.values() for found in _walk(item))]
