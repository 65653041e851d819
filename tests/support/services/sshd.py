"""A private sshd on a loopback port: throw-away host keys, its own authorized_keys, polled until it answers."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from drbackup.fleet.address import SshAddress
from tests.support.poll import wait_until
from tests.support.services.capability import require

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin") or ""


def make_key(path: Path, kind: str = "ed25519") -> str:
    """A key pair at ``path``; returns the public line ``ssh-ed25519 AAAA…``."""
    # With a comment: paramiko 5 can't read some keys that have none (it takes the end of the comment for padding).
    words = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "drbackup-test", "-f", str(path)]
    subprocess.run(words, check=True, timeout=30)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@dataclass
class Sshd:
    """One running server. ``user_key``: a private key file that is let in (see :meth:`allow`)."""

    folder: Path
    port: int
    host_key: str
    user_key: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "sshd.log").read_text(errors="replace")

    def allow(self, *lines: str) -> None:
        """Replace authorized_keys."""
        (self.folder / "authorized_keys").write_text("".join(f"{line}\n" for line in lines))

    def allow_user(self, options: str = "") -> None:
        """Let ``user_key`` in, with ``options`` in front of it."""
        public = self.user_key.with_suffix(".pub").read_text().strip()
        self.allow(f"{options} {public}".strip())

    def address(self, **changed: object) -> SshAddress:
        values: dict[str, object] = {
            "name": "db1",
            "host": "127.0.0.1",
            "port": self.port,
            "user": getpass.getuser(),
            "host_keys": (self.host_key,),
            "key_file": str(self.user_key),
            "timeout": 10.0,
        }
        return SshAddress(**{**values, **changed})  # type: ignore[arg-type]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=10)


def start_sshd(folder: Path, settings: Sequence[str] = ()) -> Sshd:
    """Start one below ``folder``; ``settings``: more lines of sshd_config."""
    folder.mkdir(parents=True, exist_ok=True)
    host_key = make_key(folder / "host_key")
    make_key(folder / "user_key")
    port = free_port()
    search = os.pathsep.join([str(Path(sys.executable).resolve().parent), "/usr/local/bin", "/usr/bin", "/bin"])
    (folder / "sshd_config").write_text(
        "\n".join(
            [
                f"Port {port}",
                "ListenAddress 127.0.0.1",
                f"HostKey {folder}/host_key",
                f"AuthorizedKeysFile {folder}/authorized_keys",
                f"PidFile {folder}/sshd.pid",
                "StrictModes no",
                "UsePAM no",
                "PasswordAuthentication no",
                "KbdInteractiveAuthentication no",
                "PermitRootLogin yes",
                "PrintMotd no",
                "MaxStartups 100",
                "UseDNS no",
                f"SetEnv PATH={search}",
                *settings,
                "",
            ]
        )
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    process = subprocess.Popen(
        [SSHD, "-D", "-f", str(folder / "sshd_config"), "-E", str(folder / "sshd.log")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server = Sshd(folder, port, host_key, folder / "user_key", process)
    server.allow_user()
    wait_until(lambda: process.poll() is not None or _answers(port))
    if process.poll() is not None:
        raise RuntimeError(f"sshd did not start: {server.log}")
    return server


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as peer:
            return peer.recv(4) == b"SSH-"
    except OSError:
        return False


@pytest.fixture
def sshd_factory(tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """Start as many servers as a test needs; all are stopped at its end."""
    require("sshd", bool(SSHD), "OpenSSH's sshd is not installed")
    servers: list[Sshd] = []

    def start(*settings: str) -> Sshd:
        servers.append(start_sshd(tmp_path / f"sshd-{len(servers)}", settings))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def sshd(sshd_factory: Callable[..., Sshd]) -> Sshd:
    """One running sshd."""
    return sshd_factory()
