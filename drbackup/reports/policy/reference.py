"""``docs/policy-reference.md``, made from the models, so that it can't differ from what the program does.

``make docs`` writes the file; a test fails when it is not current.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from drbackup.reports.policy.schema import MODELS, Which, schema

REFERENCE_PAGE = "docs/policy-reference.md"

_TITLES: dict[Which, str] = {"policy": "A policy: `<system>.yaml`", "inventory": "The inventory: `inventory.yaml`"}

_HEAD = """\
# Policy reference

Generated from the models by `make docs`; do not edit.

A policy folder holds `inventory.yaml`, one `<system>.yaml` for each system, and `levels/<edition>.yaml`. Check it
with `drbackup policy check`: every finding of every file comes at once, as `file:line:column`, with the line and a
way out. The folder `policies/` of the source is a whole city to copy from.

## How values are written

| Value | Written as |
| --- | --- |
| length of time | `15m`, `1h30m`, `36h`, `7d`; units s, m, h, d, w; a bare number is refused |
| size | `512KB`, `10MB`, `1.5GB` (powers of ten), `64MiB` (powers of two), or a whole number of bytes |
| bandwidth | bytes per second: `10MB/s` or `10MB` |
| truth | `true` or `false`; `yes`, `on` and the like are text |
| daily window | `22:00-06:00`, `mon-fri 20:00-23:30`, `sat,sun 00:00-24:00`, in the schedule's time zone |
| blackout | a daily window, or dates `2026-12-28..2027-01-03`, both days included |
| cron line | five fields in local time: `30 2 * * *`, `15 1,13 * * mon-fri` |

Keys are always text (`on:` needs no quotes); a key written twice is an error; anchors (`&a`), aliases (`*a`) and
merge keys (`<<: *a`) work.

## When a copy is due

`every` without a window counts from a fixed origin, shifted by a share of the interval that depends on the system's
name alone (`spread: true`), so the dues do not move when a run is late and systems do not all start together. With a
window, the first due of a day lies inside the window, and an interval of a day or more takes every so-many-th
opening. A due in a blackout waits for its end, if the window is still open then. A local time that does not exist
(clocks go forward) becomes the next instant that does; one that comes twice counts once.

After an outage, `catch_up: once` runs the newest missed due and notes the others as missed; `skip` waits for the next
due.

## What is checked across files

Errors: references to an agent, store, system, source or level table that is not there; two systems or two sources of
one name; systems that wait for each other, unless an edge is `degraded: true`; a check that does not fit its source's
kind; a schedule or window that lets more time pass than the RPO; a store whose lock is shorter than `keep`; an RTO
that is not longer than the sum of the RTOs on the slowest path of what must be back first.

Warnings: a dependency with a worse RPO than its dependent; a promise weaker than its level; copies exactly as often
as the RPO; a blackout by date that breaks the RPO; a store without a lock; no drill, or a source no check looks at; a
command without a restore twin; a file not named after its system.
"""


def page() -> str:
    """The whole page as Markdown, with a newline at its end."""
    parts = [_HEAD]
    for which in MODELS:
        parts.append(f"## {_TITLES[which]}\n")
        parts.extend(_sections(schema(which)))
    return "\n".join(parts)


def _sections(made: dict[str, Any]) -> Iterator[str]:
    yield _table(made)
    for name, model in made["$defs"].items():
        shape = _object(model)
        if shape:
            yield f"### {name}\n\n{_one_line(shape.get('description', ''))}\n"
            yield _table(shape)


def _object(model: dict[str, Any]) -> dict[str, Any]:
    """The mapping form of a definition, also where a short text form is allowed; empty when there is none."""
    candidates = [model, *model.get("anyOf", [])]
    return next((each for each in candidates if "properties" in each), {})


def _table(shape: dict[str, Any]) -> str:
    rows = ["| Key | Value | Default | Meaning |", "| --- | --- | --- | --- |"]
    for key, value in shape["properties"].items():
        default = "required" if key in shape.get("required", ()) else _default(value)
        rows.append(f"| `{key}` | {_kind(value)} | {default} | {_one_line(value.get('description', ''))} |")
    return "\n".join(rows) + "\n"


def _default(value: dict[str, Any]) -> str:
    default = value.get("default")
    if default is None or default in ("", []):
        return ""
    return f"`{default if isinstance(default, str) else json.dumps(default, ensure_ascii=False)}`"


def _kind(value: dict[str, Any]) -> str:
    """A JSON Schema type in a few words."""
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in value:
        kinds = dict.fromkeys(_kind(each) for each in value["anyOf"] if each.get("type") != "null")
        return " or ".join(kinds)
    if "enum" in value:
        return ", ".join(f"`{each}`" for each in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if value.get("examples"):
        return "like " + ", ".join(f"`{each}`" for each in value["examples"])
    if value.get("type") == "array":
        items: dict[str, Any] = value.get("items") or next(iter(value.get("prefixItems", [])), {})
        return f"list of {_kind(items)}"
    if value.get("type") == "object":
        inner: dict[str, Any] = value.get("additionalProperties") or next(
            iter(value.get("patternProperties", {}).values()), {}
        )
        return f"name → {_kind(inner)}" if inner else "mapping"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    return words.get(str(value.get("type")), "any")


def _one_line(text: str) -> str:
    first = text.strip().split("\n\n")[0]
    return " ".join(first.split()).replace("|", "\\|")
