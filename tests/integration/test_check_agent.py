"""``agents check``: one line a check, against real processes and a real sshd."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from drbackup.controller.runs.agent import agent_access
from drbackup.fleet import local
from drbackup.fleet.channel import Channel
from drbackup.fleet.check import CheckLine
from drbackup.fleet.deployed import Deployed, remember
from drbackup.model.inventory import AgentEntry, Inventory
from drbackup.system.instants import from_ns
from tests.support.doubles.memory_handler import small_agent
from tests.support.runs import wall
from tests.support.services.sshd import Sshd, free_port, make_key

NOT_TRIED = None


@dataclass
class City:
    """A backup centre's inventory, and its home with the notes of what was deployed."""

    inventory: Inventory
    home: Path

    def agent(self, name: str) -> AgentEntry:
        return self.inventory.agents[name]


def inventory(entry: dict[str, object]) -> Inventory:
    return Inventory.model_validate(
        {"title": "City", "agents": {"db1": entry}, "stores": {"offsite": {"directory": {"path": "/srv/vault"}}}}
    )


def over_ssh(sshd: Sshd, **changed: object) -> Inventory:
    address = sshd.address()
    entry: dict[str, object] = {
        "transport": "ssh",
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "host_keys": list(address.host_keys),
        "key_file": address.key_file,
        "command": small_agent("quick"),
        **changed,
    }
    return inventory(entry)


def by_name(lines: tuple[CheckLine, ...]) -> dict[str, bool | None]:
    return {line.name: line.ok for line in lines}


@pytest.mark.sshd
def test_a_sound_agent_passes_every_check(sshd: Sshd, tmp_path: Path) -> None:
    lines = agent_access(City(over_ssh(sshd), tmp_path), "db1").check(wall)
    assert by_name(lines) == {
        "reachable": True,
        "host key": True,
        "login": True,
        "agent": True,
        "version": True,
        "clock": True,
        "host: job": True,
    }
    assert any("Python" in line.detail for line in lines)


@pytest.mark.sshd
@pytest.mark.parametrize("broken", ["port", "host_keys", "key_file", "command", "version", "clock"])
def test_the_first_broken_step_fails_and_later_ones_are_not_tried(sshd: Sshd, tmp_path: Path, broken: str) -> None:
    make_key(tmp_path / "other")
    public = (tmp_path / "other.pub").read_text()
    changed: dict[str, dict[str, object]] = {
        "port": {"port": free_port()},
        "host_keys": {"host_keys": [public]},
        "key_file": {"key_file": str(tmp_path / "other")},
        "command": {"command": ["/opt/none/drbackup-agent", "serve"]},
        "version": {"command": small_agent("old")},
        "clock": {"command": small_agent("hour-ahead")},
    }
    step = {"port": "reachable", "host_keys": "host key", "key_file": "login", "command": "agent"}.get(broken, broken)
    lines = by_name(agent_access(City(over_ssh(sshd, **changed[broken]), tmp_path), "db1").check(wall))
    assert lines[step] is False
    assert lines["host"] is NOT_TRIED
    assert list(lines.values()).count(False) == 1


def test_a_file_that_was_not_deployed_fails_the_version(tmp_path: Path) -> None:
    remember(tmp_path, "db1", Deployed("0.1.0", "cd" * 32, "/opt", "", ""))
    city = City(inventory({"transport": "local", "command": small_agent("quick")}), tmp_path)
    lines = {line.name: line for line in agent_access(city, "db1").check(wall)}
    assert lines["version"].ok is False
    assert "not the deployed one" in lines["version"].detail


def test_a_clock_an_hour_off_is_seen_by_our_own_clock_too(tmp_path: Path) -> None:
    connect: Callable[[str, AgentEntry, Inventory], Channel] = lambda name, *_: local.open_channel(  # noqa: E731
        name, small_agent("quick")
    )
    city = City(inventory({"transport": "local"}), tmp_path)
    lines = agent_access(city, "db1", connect).check(lambda: from_ns(10**18))
    assert by_name(lines)["clock"] is False
    assert sys.executable
