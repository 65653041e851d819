"""``drbackup agents`` as an operator uses it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from drbackup.cli.agents import agents
from drbackup.cli.context import CliContext
from drbackup.errors import HostUnsuitable, UsageError
from drbackup.fleet.deployed import expected
from drbackup.model.inventory import Inventory
from tests.support.services.sshd import Sshd


@dataclass
class RequestHandler(CliContext):
    """A command line whose installation is only an inventory and a home."""

    inventory: Inventory | None = None
    results: list[Any] = field(default_factory=list)

    def installation(self) -> Any:
        assert self.inventory is not None
        policies, agent = SimpleNamespace(inventory=self.inventory), self.inventory.agents.__getitem__
        return SimpleNamespace(home=self.home, policies=policies, inventory=self.inventory, agent=agent)


def city(**entries: dict[str, object]) -> Inventory:
    return Inventory.model_validate(
        {"title": "City", "agents": entries, "stores": {"offsite": {"directory": {"path": "/srv/vault"}}}}
    )


def run(tmp_path: Path, inventory: Inventory, *words: str) -> tuple[Any, RequestHandler]:
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    handler = RequestHandler(home=home, inventory=inventory)
    return CliRunner().invoke(agents, list(words), obj=handler), handler


def test_check_passes_a_local_agent_with_the_real_jobs(tmp_path: Path) -> None:
    local = {"transport": "local", "state_folder": str(tmp_path / "state")}
    outcome, handler = run(tmp_path, city(here=local), "check")
    assert outcome.exit_code == 0, outcome.output
    assert handler.document is not None
    assert handler.document["ok"] is True
    assert "version: OK" in outcome.output
    assert "host: state folder: OK" in outcome.output


def test_check_exits_1_when_an_agent_is_not_fit_and_still_looks_at_the_others(tmp_path: Path) -> None:
    inventory = city(
        bad={"transport": "local", "command": ["/nonexistent/agent"]},
        good={"transport": "local", "state_folder": str(tmp_path / "state")},
    )
    outcome, handler = run(tmp_path, inventory, "check")
    assert outcome.exit_code == 1
    assert handler.document is not None
    assert [line["ok"] for line in handler.document["agents"]["bad"]].count(False) == 1
    assert all(line["ok"] for line in handler.document["agents"]["good"])
    assert json.dumps(handler.document)


def test_an_unknown_agent_is_a_usage_error_with_a_proposal(tmp_path: Path) -> None:
    outcome, _ = run(tmp_path, city(db1={"transport": "local"}), "check", "db2")
    assert isinstance(outcome.exception, UsageError)
    assert "db1" in outcome.exception.hint


def test_deploy_remembers_the_file_and_check_then_expects_it(tmp_path: Path) -> None:
    folder = tmp_path / "opt"
    entry = {"transport": "local", "install_folder": str(folder), "state_folder": str(tmp_path / "state")}
    refused, _ = run(tmp_path, city(here=entry), "deploy", "here")
    assert isinstance(refused.exception, UsageError)
    deployed = {**entry, "command": [str(folder / "current" / "drbackup-agent"), "serve"]}
    outcome, handler = run(tmp_path, city(here=deployed), "deploy", "here")
    assert outcome.exit_code == 0, outcome.output
    wanted = expected(handler.home, "here")
    assert wanted is not None
    assert wanted.bundle[:12] in outcome.output
    outcome, _ = run(tmp_path, city(here=deployed), "check")
    assert outcome.exit_code == 0, outcome.output
    # The controller's own source agent is not the deployed file:
    assert run(tmp_path, city(here=entry), "check")[0].exit_code == 1
    listed, _ = run(tmp_path, city(here=deployed), "list")
    assert wanted.bundle[:12] in listed.output


@pytest.mark.sshd
def test_deploying_over_ssh_needs_an_administrators_login(sshd: Sshd, tmp_path: Path) -> None:
    address = sshd.address()
    entry: dict[str, object] = {
        "transport": "ssh",
        "host": address.host,
        "port": address.port,
        "host_keys": list(address.host_keys),
        "key_file": address.key_file,
        "install_folder": str(tmp_path / "opt"),
    }
    refused, _ = run(tmp_path, city(db1=entry), "deploy", "db1")
    assert isinstance(refused.exception, UsageError)
    done, _ = run(tmp_path, city(db1=entry), "deploy", "db1", "--as", address.user, "--key", address.key_file)
    assert done.exit_code == 0, done.output


@pytest.mark.sshd
def test_a_key_that_may_only_run_the_agent_is_named_as_the_reason(sshd: Sshd, tmp_path: Path) -> None:
    sshd.allow_user(f'restrict,command="{sys.executable} -m drbackup_agent forced"')
    address = sshd.address()
    entry: dict[str, object] = {
        "transport": "ssh",
        "host": address.host,
        "port": address.port,
        "host_keys": list(address.host_keys),
        "key_file": address.key_file,
        "install_folder": str(tmp_path / "opt"),
    }
    refused, _ = run(tmp_path, city(db1=entry), "deploy", "db1", "--as", address.user, "--key", address.key_file)
    assert isinstance(refused.exception, HostUnsuitable)
    assert not (tmp_path / "opt").exists()
