"""Whoever starts something hands in the clock: a run can be tried at any hour, and all of it has one idea of now."""

from __future__ import annotations

import ast
from pathlib import Path

import drbackup.controller

CLOCKS = {("datetime", "now"), ("datetime", "utcnow"), ("date", "today"), ("time", "time"), ("time", "time_ns")}


def test_no_module_of_the_controller_reads_a_clock() -> None:
    (folder,) = drbackup.controller.__path__
    found = [
        f"{file.relative_to(folder)}:{node.lineno}"
        for file in Path(folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and (node.value.id, node.attr) in CLOCKS
    ]
    assert found == []
