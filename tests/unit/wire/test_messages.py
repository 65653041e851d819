"""What an agent's preflight sends is read as checks; nothing counts as good unless it says so."""

from __future__ import annotations

import pytest

from drbackup.wire.messages import PreflightCheck, PreflightResult


def test_checks_are_sent_as_lines_and_read_back_as_they_were() -> None:
    checks = (
        PreflightCheck("state folder", True, "/x, 9 MiB free"),
        PreflightCheck("path /y", False, "gone: for good"),
    )
    result = PreflightResult.of(checks)
    assert result.lines == {"state folder": "ok: /x, 9 MiB free", "path /y": "failed: gone: for good"}
    assert result.checks == checks


@pytest.mark.parametrize("line", ["", "okay", "failed", "FAILED: no", "fine: really", "no disk: ok: yes"])
def test_a_line_that_does_not_say_ok_is_never_good(line: str) -> None:
    assert not PreflightCheck.read("disk", line).good
