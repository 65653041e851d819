"""The SSH address of an agent. It is not in :mod:`drbackup.fleet.ssh`, because a local agent needs no SSH library."""

from __future__ import annotations

import msgspec


class SshAddress(msgspec.Struct, frozen=True):
    """One host with the login on it."""

    name: str  # of the agent in the inventory
    host: str
    user: str
    host_keys: tuple[str, ...]  # pinned lines "ssh-ed25519 AAAA…"
    port: int = 22
    key_file: str = ""  # empty: none
    ssh_agent: bool = False  # offer the keys of the ssh-agent, too
    timeout: float = 20.0  # seconds for each of connect, banner, key exchange and login
    jump: SshAddress | None = None  # the jump host that leads there; None: a direct connection

    @property
    def shown(self) -> str:
        """The inventory's name and the address, for messages."""
        return f"{self.name} ({self.user}@{self.host}:{self.port})"
