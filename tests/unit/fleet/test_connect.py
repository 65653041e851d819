"""From inventory entries to addresses and commands."""

from __future__ import annotations

import sys
from datetime import timedelta

import pytest

from drbackup.errors import PolicyError
from drbackup.fleet.connect import agent_command, session_timeouts, ssh_address
from drbackup.model.inventory import AgentEntry, Inventory

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGjAXdWnRcJFw2hmqGdSb8vbVYvDTH0s1B6iZ1uPZ0nA"


def entry(**values: object) -> dict[str, object]:
    return {"transport": "ssh", "host": "10.0.0.1", "host_keys": [KEY], "key_file": "/keys/id", **values}


def inventory(**agents: dict[str, object]) -> Inventory:
    return Inventory.model_validate(
        {"title": "City", "agents": agents, "stores": {"offsite": {"directory": {"path": "/srv/vault"}}}}
    )


def test_an_address_carries_everything_of_its_entry() -> None:
    city = inventory(db1=entry(port=2222, user="backup", connect_timeout="7s"))
    address = ssh_address("db1", city)
    assert (address.host, address.port, address.user, address.timeout) == ("10.0.0.1", 2222, "backup", 7.0)
    assert address.host_keys == (KEY,)
    assert address.jump is None


def test_jump_hosts_chain_and_the_administrators_login_is_for_the_last_host_only() -> None:
    city = inventory(db1=entry(jump="gate"), gate=entry(host="gate.city", user="jump"))
    address = ssh_address("db1", city, user="admin", key_file="/keys/admin")
    assert (address.user, address.key_file) == ("admin", "/keys/admin")
    assert address.jump is not None
    assert (address.jump.host, address.jump.user, address.jump.key_file) == ("gate.city", "jump", "/keys/id")


def test_jump_hosts_in_a_circle_are_refused() -> None:
    city = inventory(a=entry(jump="b"), b=entry(jump="a"))
    with pytest.raises(PolicyError, match="circle"):
        ssh_address("a", city)


def test_a_jump_host_must_be_an_ssh_agent_of_the_inventory() -> None:
    city = inventory(a=entry(jump="b"), b={"transport": "local"})
    with pytest.raises(PolicyError, match="'b' is not an ssh agent"):
        ssh_address("a", city)


def test_the_command_is_the_inventorys_or_the_deployed_one() -> None:
    assert agent_command(AgentEntry.model_validate(entry(command=["/x", "serve"]))) == ("/x", "serve")
    assert agent_command(AgentEntry.model_validate(entry())) == ("/opt/drbackup-agent/current/drbackup-agent", "serve")
    local = AgentEntry.model_validate({"transport": "local"})
    assert agent_command(local) == (sys.executable, "-m", "drbackup_agent", "serve")


def test_the_limits_come_from_the_inventory() -> None:
    city = inventory(db1=entry(stall_timeout="90s"))
    limits = session_timeouts(city.agents["db1"], city)
    assert (limits.stall, limits.clock_skew) == (90.0, timedelta(seconds=30))
