"""The ssh transport: one agent behind one SSH connection.

Host keys are pinned, never learned. No connection is made to a host without a pinned key. A host that shows another key
is offered no login. Both hold for a jump host, too. Every kind of failure has its own error class and names the host.

Paramiko is used one level below its ``SSHClient``, which is made for learning keys.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import shlex
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import paramiko
from paramiko.pkey import UnknownKeyType

from drbackup.errors import (
    AgentMissing,
    AuthenticationRefused,
    HostKeyChanged,
    HostKeyUnknown,
    HostUnreachable,
    Said,
    say,
    say_all,
)
from drbackup.fleet.address import SshAddress
from drbackup.fleet.channel import StderrTail
from drbackup.system.masking import masked

# Measured over loopback (docs/adr/0003). OpenSSH and cryptography both run AES-GCM on the processor's AES
# instructions, and it needs no separate MAC pass in Python.
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
_MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
_WINDOW_BYTES = 16 << 20  # a line of 100 ms still carries 160 MB/s
_PACKET_BYTES = 512 << 10  # with small ones paramiko moves its buffer for each: a fifth of the speed is left
_SLICE_BYTES = 32 << 10  # OpenSSH's own packet size, so one slice is one packet
_KEEPALIVE_SECONDS = 15
_DEAD_PEER_MS = 60_000  # with unacknowledged bytes for this long, the connection is broken, not slow


class SshConnection:
    """An authenticated connection, with the jump host's connection that carries it."""

    def __init__(self, address: SshAddress, transport: paramiko.Transport, below: SshConnection | None) -> None:
        self.address = address
        self.transport = transport
        self._below = below

    def start(self, command: str) -> paramiko.Channel:
        """The channel of the started ``command``. With a forced command the host runs that one instead.

        Raises :class:`HostUnreachable` and :class:`AgentMissing`.
        """
        with _failing_as_unreachable(self.address, say("opening a channel")):
            channel = self.transport.open_session(
                window_size=_WINDOW_BYTES, max_packet_size=_PACKET_BYTES, timeout=self.address.timeout
            )
        try:
            channel.settimeout(self.address.timeout)
            channel.exec_command(command)
            channel.settimeout(None)
        except (paramiko.SSHException, EOFError, OSError) as refused:
            channel.close()
            raise AgentMissing(
                say("the host refuses to start a command: {why}", why=_words(refused)), host=self.address.name
            ) from refused
        return channel

    def close(self) -> None:
        self.transport.close()
        if self._below is not None:
            self._below.close()


class _ChannelReader:
    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def read(self, size: int, /) -> bytes:
        return self._channel.recv(size)


class _ChannelWriter:
    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def write(self, data: bytes | memoryview, /) -> int:
        view = memoryview(data)
        done = 0
        while done < len(view):
            # In slices, because paramiko copies all that it is given before it takes one packet of it.
            sent = self._channel.send(bytes(view[done : done + _SLICE_BYTES]))
            if sent == 0:
                raise BrokenPipeError("the channel is closed")
            done += sent
        return done

    def flush(self) -> None:
        """Nothing: a write is never buffered here."""


class SshChannel:
    """The channel to one agent, on a connection of its own."""

    def __init__(self, connection: SshConnection, command: str) -> None:
        self.host = connection.address.name
        self._connection = connection
        self._channel = connection.start(command)
        self.reader = _ChannelReader(self._channel)
        self.writer = _ChannelWriter(self._channel)
        self._tail = StderrTail()
        self._drain = threading.Thread(target=self._keep_stderr, name=f"stderr {self.host}", daemon=True)
        self._drain.start()

    def stderr_tail(self) -> str:
        if self._channel.exit_status_ready():
            self._drain.join(timeout=1.0)
        return self._tail.text()

    def exit_status(self, wait: float = 0.0) -> int | None:
        """The exit status, after at most ``wait`` seconds. None: unknown, or ended by a signal.

        Paramiko's -1 does not tell these two apart.
        """
        self._channel.status_event.wait(wait)
        if not self._channel.exit_status_ready():
            return None
        return self._channel.exit_status if self._channel.exit_status >= 0 else None

    def close(self, grace: float = 5.0) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.shutdown_write()  # end of input: the agent ends by itself
        self._channel.status_event.wait(grace)
        self._channel.close()
        self._connection.close()
        self._drain.join(timeout=5.0)

    def _keep_stderr(self) -> None:
        while data := self._channel.recv_stderr(65536):
            self._tail.add(data)


def open_channel(address: SshAddress, command: Sequence[str]) -> SshChannel:
    """The channel to the started ``command``, an argv list, on a host whose key is the pinned one.

    Raises :class:`HostKeyUnknown`, :class:`HostKeyChanged`, :class:`HostUnreachable`, :class:`AuthenticationRefused`
    and :class:`AgentMissing`.
    """
    connection = connect(address)
    try:
        return SshChannel(connection, shlex.join(command))
    except BaseException:
        connection.close()
        raise


def connect(address: SshAddress) -> SshConnection:
    """An authenticated connection to a host whose key is the pinned one.

    Raises :class:`HostKeyUnknown`, :class:`HostKeyChanged`, :class:`HostUnreachable` and
    :class:`AuthenticationRefused`, also for a jump host.
    """
    if not address.host_keys:  # before anything is sent, or even the name resolved
        raise HostKeyUnknown(say("no host key is pinned for {shown}", shown=address.shown), host=address.name)
    below = connect(address.jump) if address.jump is not None else None
    try:
        transport = _negotiate(address, below)
    except BaseException:
        if below is not None:
            below.close()
        raise
    connection = SshConnection(address, transport, below)
    try:
        _check_host_key(address, transport)
        _log_in(address, transport)
    except BaseException:
        connection.close()
        raise
    return connection


def fingerprint(key_blob: bytes) -> str:
    """The fingerprint of a public key, as ``ssh-keygen -l`` shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key_blob).digest()).decode().rstrip("=")


# --- connecting


def _negotiate(address: SshAddress, below: SshConnection | None) -> paramiko.Transport:
    sock = _dial(address) if below is None else _dial_through(address, below)
    # The handshake begins with start_client(), so all that limits its choices is set before.
    transport = paramiko.Transport(sock, default_window_size=_WINDOW_BYTES, default_max_packet_size=_PACKET_BYTES)
    transport.daemon = True
    transport.banner_timeout = transport.handshake_timeout = address.timeout
    transport.auth_timeout = transport.channel_timeout = address.timeout
    options = transport.get_security_options()
    options.ciphers = _CIPHERS
    options.digests = _MACS
    options.key_types = _pinned_kinds_first(address, options.key_types)
    try:
        with _failing_as_unreachable(address, say("the SSH handshake")):
            transport.start_client(timeout=address.timeout)
            if not transport.initial_kex_done:
                raise paramiko.SSHException(f"no key exchange within {address.timeout:g} s")
    except BaseException:
        transport.close()
        raise
    transport.set_keepalive(_KEEPALIVE_SECONDS)
    return transport


def _dial(address: SshAddress) -> socket.socket:
    try:
        sock = socket.create_connection((address.host, address.port), timeout=address.timeout)
    except socket.gaierror as unknown:
        raise HostUnreachable(
            say("the name of {shown} can't be resolved: {why}", shown=address.shown, why=unknown.strerror),
            host=address.name,
        ) from unknown
    except TimeoutError as late:
        raise HostUnreachable(
            say("no answer from {shown} within {timeout} s", shown=address.shown, timeout=f"{address.timeout:g}"),
            host=address.name,
        ) from late
    except OSError as failure:
        raise HostUnreachable(
            say("no connection to {shown}: {why}", shown=address.shown, why=failure.strerror), host=address.name
        ) from failure
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_PEER_MS)
    return sock


def _dial_through(address: SshAddress, below: SshConnection) -> paramiko.Channel:
    try:
        return below.transport.open_channel(
            "direct-tcpip", (address.host, address.port), ("127.0.0.1", 0), timeout=address.timeout
        )
    except (paramiko.SSHException, EOFError, OSError) as failure:
        raise HostUnreachable(
            say(
                "the jump host {shown} does not lead to {address_shown}: {why}",
                shown=below.address.shown,
                address_shown=address.shown,
                why=_words(failure),
            ),
            host=address.name,
            hint='on the jump host the key needs port-forwarding,permitopen="HOST:PORT" (agents/install/README.md)',
        ) from failure


@contextlib.contextmanager
def _failing_as_unreachable(address: SshAddress, step: Said) -> Iterator[None]:
    try:
        yield
    except (paramiko.SSHException, EOFError, OSError) as failure:
        raise HostUnreachable(
            say("{step} with {shown} failed: {why}", step=step, shown=address.shown, why=_words(failure)),
            host=address.name,
        ) from failure


def _words(failure: BaseException) -> str:
    return masked(str(failure)) or type(failure).__name__


# --- is it the right host?


def _pinned_kinds_first(address: SshAddress, offered: Sequence[str]) -> tuple[str, ...]:
    """The kinds of host key to ask for, the pinned ones first.

    The others stay in the list, so that a reinstalled host is reported as changed, with its new fingerprint. Without
    them the handshake would fail for no visible reason.
    """
    pinned = {line.split()[0] for line in address.host_keys}
    if "ssh-rsa" in pinned:  # one key, three signature schemes; SHA-1 is not among ours
        pinned |= {"rsa-sha2-512", "rsa-sha2-256"}
    return tuple(sorted(offered, key=lambda kind: kind not in pinned))


def _check_host_key(address: SshAddress, transport: paramiko.Transport) -> None:
    shown = transport.get_remote_server_key().asbytes()
    pinned = [base64.b64decode(line.split()[1]) for line in address.host_keys]
    if shown not in pinned:
        raise HostKeyChanged(
            say(
                "{shown} shows the key {fingerprint}, pinned: {fingerprint2}",
                shown=address.shown,
                fingerprint=fingerprint(shown),
                fingerprint2=", ".join(map(fingerprint, pinned)),
            ),
            host=address.name,
        )


# --- our login


def _log_in(address: SshAddress, transport: paramiko.Transport) -> None:
    """Offers the key file, then the ssh-agent's keys; never a password, never the operator's own ~/.ssh keys."""
    refusals: list[Said] = []
    for label, key in _keys(address):
        refusal = _offer(transport, address, key)
        if refusal is None:
            return
        refusals.append(say("{label}: {refusal}", label=label, refusal=refusal))
    reasons = say_all(refusals) or say("there is no key to offer")
    raise AuthenticationRefused(
        say("{shown} refused the login: {reasons}", shown=address.shown, reasons=reasons),
        host=address.name,
    )


def _keys(address: SshAddress) -> Iterator[tuple[str, paramiko.PKey]]:
    if address.key_file:
        yield address.key_file, _load_key(address)
    if address.ssh_agent:
        agent = paramiko.Agent()
        try:
            for number, key in enumerate(agent.get_keys(), 1):
                yield f"ssh-agent key {number}", key
        finally:
            agent.close()


def _load_key(address: SshAddress) -> paramiko.PKey:
    try:
        return paramiko.PKey.from_path(Path(address.key_file))
    except (TypeError, paramiko.PasswordRequiredException) as locked:
        raise AuthenticationRefused(
            say("the key file {key_file} has a passphrase", key_file=address.key_file),
            host=address.name,
            where=address.key_file,
            hint="load it into an ssh-agent and set ssh_agent: true in the inventory",
        ) from locked
    except (OSError, ValueError, paramiko.SSHException, UnknownKeyType) as unreadable:
        raise AuthenticationRefused(
            say("the key file {key_file} can't be used: {why}", key_file=address.key_file, why=_words(unreadable)),
            host=address.name,
            where=address.key_file,
        ) from unreadable


def _offer(transport: paramiko.Transport, address: SshAddress, key: paramiko.PKey) -> str | None:
    """Why the host refused the key; None when it accepted the login."""
    try:
        missing = transport.auth_publickey(address.user, key)
    except paramiko.AuthenticationException as refused:
        if not transport.is_active():
            raise AuthenticationRefused(
                say("{shown} refused the login and hung up: {why}", shown=address.shown, why=_words(refused)),
                host=address.name,
            ) from refused
        return _words(refused)
    except (paramiko.SSHException, EOFError, OSError) as failure:
        raise HostUnreachable(
            say("the connection to {shown} broke during the login: {why}", shown=address.shown, why=_words(failure)),
            host=address.name,
        ) from failure
    return say("the host also wants {missing}", missing=", ".join(missing)) if missing else None
