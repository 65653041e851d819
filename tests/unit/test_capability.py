"""A machine that must run a kind of test can't skip it quietly."""

from __future__ import annotations

import pytest

from tests.support.services.capability import must_run, require


def test_a_missing_capability_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRBACKUP_MUST_RUN", "sshd")
    with pytest.raises(pytest.skip.Exception):
        require("s3", False, "no binary")
    require("s3", True, "no binary")


def test_a_missing_capability_fails_where_it_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRBACKUP_MUST_RUN", " s3, postgres,")
    assert must_run() == {"s3", "postgres"}
    with pytest.raises(pytest.fail.Exception, match="no binary"):
        require("s3", False, "no binary")
