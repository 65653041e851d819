"""Single commands on a host, run with an administrator's login: only ``agents deploy`` does that.

The controller's everyday key can't run them, because its login is a forced command.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec
import paramiko

from drbackup.errors import HostUnreachable, say
from drbackup.fleet.address import SshAddress
from drbackup.fleet.ssh import SshConnection, connect
from drbackup.system.masking import masked

_KEPT = 1 << 20  # bytes of each output stream


class Ran(msgspec.Struct, frozen=True):
    """The result of a command."""

    status: int | None  # exit status; None: ended by a signal
    stdout: str
    stderr: str  # secrets masked


class Shell(Protocol):
    """The obligations of what runs commands on one host."""

    host: str  # for messages

    def run(self, command: Sequence[str], given: bytes = b"", timeout: float = 120.0) -> Ran:
        """The result of ``command``, an argv list. ``given``: bytes for its stdin. ``timeout``: seconds.

        Raises :class:`HostUnreachable`.
        """
        ...


class LocalShell:
    """A shell on this machine."""

    def __init__(self, host: str) -> None:
        self.host = host

    def run(self, command: Sequence[str], given: bytes = b"", timeout: float = 120.0) -> Ran:
        try:
            done = subprocess.run(list(command), input=given, capture_output=True, timeout=timeout)
        except subprocess.TimeoutExpired as late:
            raise HostUnreachable(
                say("{command} did not end within {timeout} s", command=command[0], timeout=f"{timeout:g}"),
                host=self.host,
            ) from late
        except OSError as failure:
            return Ran(127, "", f"{command[0]}: {failure.strerror}")
        status = done.returncode if done.returncode >= 0 else None
        return Ran(status, _text(done.stdout), masked(_text(done.stderr)))


class SshShell:
    """A shell on another host, with an administrator's login."""

    def __init__(self, connection: SshConnection) -> None:
        self.host = connection.address.name
        self._connection = connection

    def run(self, command: Sequence[str], given: bytes = b"", timeout: float = 120.0) -> Ran:
        channel = self._connection.start(shlex.join(command))
        try:
            channel.settimeout(timeout)
            with contextlib.suppress(OSError):  # it ended without reading all: its status says why
                channel.sendall(given)
                channel.shutdown_write()
            stdout = _read_all(channel.recv)
            stderr = _read_all(channel.recv_stderr)
            channel.status_event.wait(timeout)
            status = channel.exit_status if channel.exit_status_ready() and channel.exit_status >= 0 else None
        except (OSError, EOFError, paramiko.SSHException) as failure:
            raise HostUnreachable(
                say(
                    "{command} did not end within {timeout} s, or the connection broke: {why}",
                    command=command[0],
                    timeout=f"{timeout:g}",
                    why=failure,
                ),
                host=self.host,
            ) from failure
        finally:
            channel.close()
        return Ran(status, _text(stdout), masked(_text(stderr)))


@contextlib.contextmanager
def ssh_shell(address: SshAddress) -> Iterator[SshShell]:
    """A shell that is connected inside the block. Raises the errors of :func:`drbackup.fleet.ssh.connect`."""
    connection = connect(address)
    try:
        yield SshShell(connection)
    finally:
        connection.close()


def _read_all(receive: object) -> bytes:
    assert callable(receive)
    kept = bytearray()
    while data := receive(65536):
        if len(kept) < _KEPT:
            kept += data
    return bytes(kept)


def _text(data: bytes) -> str:
    return data[:_KEPT].decode("utf-8", "replace")
