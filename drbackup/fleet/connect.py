"""The channel that an inventory entry asks for: the explicit list of transports.

A new transport is one file and one case in :func:`open_channel`.
"""

from __future__ import annotations

from pathlib import Path

from drbackup.errors import PolicyError, say
from drbackup.fleet import local
from drbackup.fleet.address import SshAddress
from drbackup.fleet.channel import Channel
from drbackup.fleet.installer import AGENT_FILE
from drbackup.fleet.session import Timeouts
from drbackup.model.inventory import AgentEntry, Inventory

_MAX_JUMPS = 4


def open_channel(name: str, entry: AgentEntry, inventory: Inventory) -> Channel:
    """The channel to the agent ``name``, which is started as its entry says.

    Raises the errors of :func:`drbackup.fleet.ssh.open_channel` and :func:`drbackup.fleet.local.open_channel`, and
    :class:`PolicyError` for a wrong jump host.
    """
    match entry.transport:
        case "local":
            return local.open_channel(name, agent_command(entry), local_environment(entry))
        case "ssh":
            from drbackup.fleet import ssh  # its library is slow to import

            return ssh.open_channel(ssh_address(name, inventory), agent_command(entry))


def agent_command(entry: AgentEntry) -> tuple[str, ...]:
    """The argv list that starts the agent: the inventory's, if it has one.

    Else it starts the agent of our own environment (local) or the deployed one (ssh).
    """
    if entry.command:
        return entry.command
    if entry.transport == "local":
        return local.OWN_AGENT
    return (f"{entry.install_folder.rstrip('/')}/current/{AGENT_FILE}", "serve")


def ssh_address(name: str, inventory: Inventory, *, user: str = "", key_file: str = "") -> SshAddress:
    """The agent's address with all its jump hosts. ``user`` and ``key_file``: another login, on the last host only.

    Raises :class:`PolicyError` for a jump host that is missing, not an ssh agent, or part of a circle.
    """
    return _address(name, inventory, (), user=user, key_file=key_file)


def session_timeouts(entry: AgentEntry, inventory: Inventory) -> Timeouts:
    """The limits of a session with this agent."""
    return Timeouts(
        hello=entry.connect_timeout.total_seconds() + 10.0,  # a first start unpacks the agent's file
        stall=entry.stall_timeout.total_seconds(),
        clock_skew=inventory.max_clock_skew,
    )


def _address(
    name: str, inventory: Inventory, before: tuple[str, ...], *, user: str = "", key_file: str = ""
) -> SshAddress:
    entry = inventory.agents.get(name)
    path = " → ".join((*before, name))
    if entry is None or entry.transport != "ssh":
        raise PolicyError(
            say("agents: {path}: {name} is not an ssh agent of the inventory", path=path, name=repr(name))
        )
    if name in before or len(before) >= _MAX_JUMPS:
        raise PolicyError(say("agents: the jump hosts go in a circle or are too many: {path}", path=path))
    return SshAddress(
        name=name,
        host=entry.host,
        port=entry.port,
        user=user or entry.user,
        host_keys=entry.host_keys,
        key_file=_home_path(key_file or entry.key_file),
        ssh_agent=entry.ssh_agent or bool(user and not key_file),
        timeout=entry.connect_timeout.total_seconds(),
        jump=_address(entry.jump, inventory, (*before, name)) if entry.jump else None,
    )


def local_environment(entry: AgentEntry) -> dict[str, str]:
    """The variables that a local agent's environment has in addition to ours."""
    return {"DRBACKUP_AGENT_STATE": entry.state_folder} if entry.state_folder else {}


def _home_path(file: str) -> str:
    return str(Path(file).expanduser()) if file else ""
