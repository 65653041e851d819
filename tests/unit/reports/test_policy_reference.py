"""The reference page and the editors' schemas say what the models say; run the module to write them anew."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from drbackup.reports.policy_reference import PAGE, page, write
from drbackup.reports.policy_schema import MODELS, Which, schema, schema_text

ROOT = Path(__file__).parents[3]
RUN = "run: python -m drbackup.reports.policy_reference"


def test_the_reference_page_has_not_drifted() -> None:
    assert (ROOT / PAGE).read_text(encoding="utf-8") == page(), RUN


@pytest.mark.parametrize("which", MODELS)
def test_a_schema_file_has_not_drifted(which: Which) -> None:
    path = ROOT / "policies" / "schema" / f"{which}.schema.json"
    assert path.read_text(encoding="utf-8") == schema_text(which), RUN


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


def test_the_files_can_be_written_anew(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "policies" / "schema").mkdir(parents=True)
    write(tmp_path)
    assert (tmp_path / PAGE).read_text(encoding="utf-8") == page()


def _walk(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [found for item in value for found in _walk(item)]
    if not isinstance(value, dict):
        return []
    return [value, *(found for item in value.values() for found in _walk(item))]
