"""The ``--json`` document is the same whether a list in it was made in memory or row by row."""

from __future__ import annotations

import json

import pytest

from drbackup.cli.context import print_document
from drbackup.cli.json_rows import JsonRows

ROWS = [{"name": "户籍", "copies": ["a", "b"], "text": "two\nlines"}, {"name": "", "copies": [], "held": None}]


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], []])
def test_rows_stand_in_a_document_as_a_list_would(
    rows: list[dict[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    print_document({"rows": JsonRows(iter(rows)), "more": {"deep": [1, {"x": 2}]}})
    printed = capsys.readouterr().out
    whole = {"rows": rows, "more": {"deep": [1, {"x": 2}]}}
    assert printed == json.dumps(whole, ensure_ascii=False, indent=2) + "\n"


def test_an_empty_document_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    print_document({})
    assert capsys.readouterr().out == "{}\n"


def test_more_rows_than_are_kept_in_memory_are_all_printed(capsys: pytest.CaptureFixture[str]) -> None:
    count = 100_000
    print_document({"rows": JsonRows({"number": number, "text": "x" * 100} for number in range(count))})
    assert [row["number"] for row in json.loads(capsys.readouterr().out)["rows"]] == list(range(count))
