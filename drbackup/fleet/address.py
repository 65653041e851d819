"""Where an agent is reached over SSH. Apart from :mod:`drbackup.fleet.ssh`: a local agent needs no SSH library."""

from __future__ import annotations

import msgspec


class SshAddress(msgspec.Struct, frozen=True):
    """Where and as whom. ``host_keys``: pinned lines ``ssh-ed25519 AAAA…``. ``timeout``: seconds for each of connect,
    banner, key exchange and login."""

    name: str
    host: str
    user: str
    host_keys: tuple[str, ...]
    port: int = 22
    key_file: str = ""
    ssh_agent: bool = False
    timeout: float = 20.0
    jump: SshAddress | None = None

    @property
    def shown(self) -> str:
        """For messages: the inventory's name and the address behind it."""
        return f"{self.name} ({self.user}@{self.host}:{self.port})"
