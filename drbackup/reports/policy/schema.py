"""The JSON Schemas that editors check policies and the inventory with, made from the models.

The committed files in ``policies/schema/`` are this module's output. ``make docs`` writes them; a test fails when they
are not current.
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
    """The path of the committed schema in the source tree."""
    return f"policies/schema/{which}.schema.json"


def schema(which: Which) -> dict[str, Any]:
    """The JSON Schema, draft 2020-12, as one document without outside references."""
    made = MODELS[which].model_json_schema(mode="validation")
    if which == "policy":
        # A file may leave out objectives, or one number of them: the table of levels then gives what is missing.
        made["required"] = [key for key in made["required"] if key != "objectives"]
        made["$defs"]["Objectives"].pop("required", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"drbackup {which}",
        **{key: value for key, value in made.items() if key != "title"},
    }


def schema_text(which: Which) -> str:
    """The text of the schema's file, with a newline at its end."""
    return json.dumps(schema(which), ensure_ascii=False, indent=2) + "\n"
