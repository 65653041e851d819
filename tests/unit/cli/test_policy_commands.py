"""``drbackup policy`` as a person and as a script use it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from drbackup.cli.policy import policy
from drbackup.errors import PolicyError, UsageError
from tests.support.cities.policy_folder import SHIPPED, PolicyFolder


@pytest.fixture
def folder(tmp_path: Path) -> PolicyFolder:
    return PolicyFolder(tmp_path / "policies")


def run(folder: Path, *words: str, as_json: bool = False) -> Result:
    context = SimpleNamespace(policies_folder=folder, json=as_json)
    return CliRunner().invoke(policy, list(words), obj=context)


def test_a_good_folder_exits_zero_and_says_what_was_checked() -> None:
    result = run(SHIPPED, "check")
    assert result.exit_code == 0
    assert result.stdout == f"{SHIPPED}: 9 systems checked, 0 errors, 0 warnings\n"


def test_a_wrong_folder_exits_two_with_place_line_mark_and_hint(folder: PolicyFolder) -> None:
    folder.change("base.yaml", "schedule:", "shedule:")
    result = run(folder.path, "check")
    assert result.exit_code == 2
    path = folder.path / "base.yaml"
    assert result.stdout.splitlines() == [
        f"{path}:1:1: error: the key 'schedule' is missing",
        "    system: base",
        "    ^",
        f"{path}:10:1: error: unknown key 'shedule'",
        "    shedule: {every: 30m}",
        "    ^",
        "    hint: did you mean 'schedule'?",
        f"{folder.path}: 2 errors, 0 warnings",
    ]


def test_json_holds_every_finding_with_its_place(folder: PolicyFolder) -> None:
    folder.change("base.yaml", "agent: centre, files", "agent: center, files")
    result = run(folder.path, "check", as_json=True)
    assert result.exit_code == 2
    document: dict[str, Any] = json.loads(result.stdout)
    assert document["ok"] is False
    assert (document["errors"], document["warnings"]) == (1, 0)
    (finding,) = document["findings"]
    assert finding == {
        "file": str(folder.path / "base.yaml"),
        "line": 9,
        "column": 26,
        "text": "  - {name: scans, agent: center, files: {paths: [/srv/scans]}}",
        "message": "inventory.yaml has no agent 'center'",
        "hint": "did you mean 'centre'?",
        "severity": "error",
    }


def test_warnings_exit_zero_unless_strict(folder: PolicyFolder) -> None:
    folder.change("base.yaml", "every: 30m", "every: 1h")
    assert run(folder.path, "check").exit_code == 0
    assert run(folder.path, "check", "--strict").exit_code == 2


def test_a_missing_folder_is_a_policy_error(tmp_path: Path) -> None:
    result = run(tmp_path / "nowhere", "check")
    assert isinstance(result.exception, PolicyError)


def test_show_fills_in_defaults_dues_and_the_place_in_the_recovery_order() -> None:
    result = run(SHIPPED, "show", "professional-databases", as_json=True)
    document: dict[str, Any] = json.loads(result.stdout)
    assert document["objectives"] == {"rpo": "1d", "rto": "2d"}
    assert document["schedule"]["time_zone"] == "Asia/Shanghai"
    assert len(document["derived"]["next_dues"]) == 3
    assert document["derived"]["recovery"]["after"] == ["gov-network", "security-system"]
    plain = run(SHIPPED, "show", "professional-databases")
    assert "title: 各专业数据库" in plain.stdout


def test_show_of_an_unknown_system_suggests_a_near_one() -> None:
    result = run(SHIPPED, "show", "enterprise-bas")
    assert isinstance(result.exception, UsageError)
    assert result.exception.hint == "did you mean 'enterprise-base'?"


def test_show_in_a_wrong_folder_names_every_finding(folder: PolicyFolder) -> None:
    folder.change("base.yaml", "level: 4", "level: four")
    result = run(folder.path, "show", "network")
    assert isinstance(result.exception, PolicyError)
    assert "base.yaml:4:8" in result.exception.message


def test_plan_shows_waves_paths_and_later_reconnections() -> None:
    lines = run(SHIPPED, "plan").stdout.splitlines()
    assert lines[0] == "wave 0  drbackup  RTO 30m"
    assert (
        "wave 1  emergency-dispatch  RTO 1h, after drbackup 30m = 30m; reconnects to gov-network, enterprise-base"
        in lines
    )
    document: dict[str, Any] = json.loads(run(SHIPPED, "plan", "community-servers", as_json=True).stdout)
    assert [step["system"] for step in document["steps"]] == ["drbackup", "gov-network", "community-servers"]
    assert isinstance(run(SHIPPED, "plan", "nobody").exception, UsageError)


@pytest.mark.parametrize(("words", "which"), [((), "policy"), (("--inventory",), "inventory")])
def test_schema_prints_the_committed_schema(words: tuple[str, ...], which: str) -> None:
    result = run(SHIPPED, "schema", *words)
    assert result.exit_code == 0
    assert result.stdout == (SHIPPED / "schema" / f"{which}.schema.json").read_text(encoding="utf-8")
