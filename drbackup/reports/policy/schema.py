"""The JSON Schemas that editors check policies and the inventory with, made from the models.

The committed files in ``policies/schema/`` are this module's output, written by ``make docs``; a test fails when they
drift.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel

from drbackup.model.inventory import Inventory
from drbackup.model.policy import Policy

Which = Literal["policy", "inventory"]

MODELS: dict[Which, type[BaseModel]] = {"policy": Policy, "inventory": Inventory}


def path(which: Which) -> str:
    """Where the committed schema stands in the tree."""
    return f"policies/schema/{which}.schema.json"


def schema(which: Which) -> dict[str, Any]:
    """Draft 2020-12, one document without outside references."""
    made = MODELS[which].model_json_schema(mode="validation")
    if which == "policy":
        # Both come from elsewhere when the file is silent: the level table, and the level's numbers for a single key.
        made["required"] = [key for key in made["required"] if key != "objectives"]
        made["$defs"]["Objectives"].pop("required", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"drbackup {which}",
        **{key: value for key, value in made.items() if key != "title"},
    }


def schema_text(which: Which) -> str:
    """The schema file's text, ending in a newline."""
    return json.dumps(schema(which), ensure_ascii=False, indent=2) + "\n"
