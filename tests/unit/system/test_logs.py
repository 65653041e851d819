"""The daemon's log."""

from __future__ import annotations

import io
import json

import structlog

from drbackup.system import logs


def lines(form: str, level: str = "info") -> list[str]:
    stream = io.StringIO()
    logs.configure(level, form, stream)
    log = structlog.get_logger()
    log.debug("hidden")
    log.warning("run-failed", error="PGPASSWORD=hunter2 refused", seed="ab" * 32, system="人口库")
    return stream.getvalue().splitlines()


def test_secrets_are_masked_in_every_form() -> None:
    for form in logs.FORMS:
        (line,) = lines(form)
        assert "hunter2" not in line
        assert "abab" not in line
        assert "人口库" in line


def test_the_journal_gets_a_priority_and_one_json_object() -> None:
    (line,) = lines("journald")
    assert line.startswith("<4>{")
    assert json.loads(line[3:])["event"] == "run-failed"


def test_json_lines_carry_their_time() -> None:
    (line,) = lines("json")
    assert json.loads(line)["timestamp"].endswith("Z")
