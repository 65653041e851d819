"""The ssh transport against a real sshd: what works, and each way to fail with its own name."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from drbackup.errors import (
    AgentDied,
    AgentMissing,
    AgentStalled,
    AuthenticationRefused,
    DrbackupError,
    HostKeyChanged,
    HostKeyUnknown,
    HostUnreachable,
    Interrupted,
    ProtocolViolation,
)
from drbackup.fleet.address import SshAddress
from drbackup.fleet.session import Timeouts, run_session
from drbackup.fleet.ssh import open_channel
from drbackup.wire.messages import PreflightJob, PreflightResult, Result
from tests.support.doubles.memory_handler import MemoryHandler, small_agent
from tests.support.doubles.small_agent import PACKS
from tests.support.poll import PATIENCE, wait_until
from tests.support.services.sshd import Sshd, free_port, make_key
from tests.support.services.tcp_proxy import CuttingProxy

pytestmark = pytest.mark.sshd
LIMITS = Timeouts(hello=20, stall=20, cancel=5)


def run(
    address: SshAddress, mode: str, handler: MemoryHandler | None = None, stop: threading.Event | None = None
) -> Result:
    channel = open_channel(address, small_agent(mode))
    return run_session(channel, PreflightJob(), handler or MemoryHandler(), LIMITS, stop=stop)


def test_a_whole_session_over_ssh(sshd: Sshd) -> None:
    handler = MemoryHandler()
    assert run(sshd.address(), "relay", handler) == PreflightResult({"known": "0", "same": "True"})
    assert len(handler.packs) == PACKS


def test_rsa_and_ecdsa_host_and_user_keys_work(sshd_factory: Callable[..., Sshd], tmp_path: Path) -> None:
    server = sshd_factory(f"HostKey {tmp_path}/rsa_host")
    server.stop()
    rsa = make_key(tmp_path / "rsa_host", "rsa")
    user = make_key(tmp_path / "ecdsa_user", "ecdsa")
    again = subprocess.Popen(
        ["/usr/sbin/sshd", "-D", "-f", str(server.folder / "sshd_config"), "-E", str(server.folder / "sshd.log")]
    )
    try:
        server.allow(user)
        wait_for(server.port)
        run(server.address(host_keys=(rsa,), key_file=str(tmp_path / "ecdsa_user")), "quick")
    finally:
        again.terminate()
        again.wait(PATIENCE)


def wait_for(port: int) -> None:
    def answers() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as peer:
            return peer.recv(4) == b"SSH-"
        return False

    wait_until(answers)


def test_the_ssh_agents_key_opens_the_door(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = subprocess.run(
        ["ssh-agent", "-s", "-a", str(tmp_path / "agent")], capture_output=True, text=True, check=True
    )
    number = re.search(r"SSH_AGENT_PID=(\d+)", said.stdout)
    assert number is not None
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        subprocess.run(["ssh-add", "-q", str(sshd.user_key)], check=True)
        run(sshd.address(key_file="", ssh_agent=True), "quick")
    finally:
        os.kill(int(number[1]), signal.SIGTERM)


# --- ways to fail


def test_a_closed_port_is_an_unreachable_host() -> None:
    address = SshAddress("db1", "127.0.0.1", "root", ("ssh-ed25519 AAAA",), port=free_port(), key_file="/x")
    with pytest.raises(HostUnreachable, match="Connection refused") as caught:
        open_channel(address, ["true"])
    assert caught.value.host == "db1"


def test_a_name_that_does_not_exist_is_an_unreachable_host() -> None:
    address = SshAddress("db1", "no-such-host.invalid", "root", ("ssh-ed25519 AAAA",), key_file="/x")
    with pytest.raises(HostUnreachable, match="resolved"):
        open_channel(address, ["true"])


@pytest.fixture
def mute() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_a_listener_that_never_answers_is_given_up_in_time(mute: int) -> None:
    address = SshAddress("db1", "127.0.0.1", "root", ("ssh-ed25519 AAAA",), port=mute, key_file="/x", timeout=1.0)
    with pytest.raises(HostUnreachable, match="handshake"):
        open_channel(address, ["true"])  # it would never come back


def test_a_host_without_a_pinned_key_is_not_even_connected_to(sshd: Sshd) -> None:
    before = sshd.log
    with pytest.raises(HostKeyUnknown) as caught:
        open_channel(sshd.address(host_keys=()), ["true"])
    assert caught.value.exit_code == 2
    assert sshd.log == before


def test_a_changed_host_key_is_refused_before_a_login_is_offered(sshd: Sshd, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    with pytest.raises(HostKeyChanged, match="SHA256:") as caught:
        open_channel(sshd.address(host_keys=(other,)), ["true"])
    assert caught.value.host == "db1"
    assert "Accepted publickey" not in sshd.log


def test_a_host_that_only_has_another_kind_of_key_has_changed(sshd: Sshd, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other", "ecdsa")
    with pytest.raises(HostKeyChanged):
        open_channel(sshd.address(host_keys=(other,)), ["true"])


def test_a_foreign_user_key_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    make_key(tmp_path / "stranger")
    with pytest.raises(AuthenticationRefused, match="refused the login"):
        open_channel(sshd.address(key_file=str(tmp_path / "stranger")), ["true"])


def test_a_key_file_that_is_missing_or_locked_is_said_so(sshd: Sshd, tmp_path: Path) -> None:
    with pytest.raises(AuthenticationRefused, match="can't be used"):
        open_channel(sshd.address(key_file=str(tmp_path / "none")), ["true"])
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(tmp_path / "locked")], check=True)
    with pytest.raises(AuthenticationRefused, match="passphrase"):
        open_channel(sshd.address(key_file=str(tmp_path / "locked")), ["true"])


def test_a_host_without_the_agent_is_named(sshd: Sshd) -> None:
    channel = open_channel(sshd.address(), ["/opt/none/drbackup-agent", "serve"])
    with pytest.raises(AgentMissing, match="exit status 127") as caught:
        run_session(channel, PreflightJob(), MemoryHandler(), LIMITS)
    assert "not found" in caught.value.message or "No such file" in caught.value.message


def test_an_agent_killed_in_the_middle_is_reported(sshd: Sshd) -> None:
    with pytest.raises(AgentDied) as caught:
        run(sshd.address(), "die")
    assert "registry" in caught.value.message
    assert "hunter2" not in caught.value.message


def test_a_cut_connection_is_reported_and_ends_the_agent(sshd: Sshd) -> None:
    with CuttingProxy(sshd.port) as proxy:
        handler = MemoryHandler()
        helper = threading.Thread(target=lambda: (handler.pack_came.wait(PATIENCE), proxy.cut()))
        helper.start()
        with pytest.raises(AgentDied) as caught:
            run(sshd.address(port=proxy.port), "ask_on", handler)
        helper.join()
    assert caught.value.host == "db1"


def test_an_agent_that_stops_reading_is_stalled(sshd: Sshd) -> None:
    handler = MemoryHandler()
    handler.packs[bytes(32)] = bytes(32 << 20)
    channel = open_channel(sshd.address(), small_agent("frozen"))
    try:
        with pytest.raises(AgentStalled):
            run_session(channel, PreflightJob(), handler, Timeouts(stall=1.0))
    finally:
        os.kill(int(handler.notes[0].split()[1]), signal.SIGKILL)


def test_noise_of_a_shell_profile_is_quoted(sshd: Sshd) -> None:
    sshd.allow_user(f'command="echo Welcome to the department; exec {" ".join(small_agent("quick"))}"')
    with pytest.raises(ProtocolViolation, match="Welcome to the department") as caught:
        run(sshd.address(), "quick")
    assert "profile" in caught.value.hint


def test_an_ssh_banner_and_stderr_chatter_do_not_disturb(sshd_factory: Callable[..., Sshd], tmp_path: Path) -> None:
    (tmp_path / "banner").write_text("Unauthorised use is a crime.\n" * 3)
    server = sshd_factory(f"Banner {tmp_path}/banner")
    server.allow_user(f'command="echo chatter >&2; exec {" ".join(small_agent("quick"))}"')
    run(server.address(), "quick")


def test_a_stop_ends_the_remote_agent(sshd: Sshd) -> None:
    handler = MemoryHandler()
    stop = threading.Event()
    helper = threading.Thread(target=lambda: (handler.noted.wait(PATIENCE), stop.set()))
    helper.start()
    with pytest.raises(Interrupted):
        run(sshd.address(), "with_child", handler, stop)
    helper.join()
    child = int(handler.notes[0].split()[1])
    wait_until(lambda: not psutil.pid_exists(child))


# --- the forced command


def forced(options: str = "restrict") -> str:
    return f'{options},command="{sys.executable} -m drbackup_agent forced"'


def exit_of(address: SshAddress, command: list[str]) -> tuple[int | None, str]:
    channel = open_channel(address, command)
    try:
        while channel.reader.read(4096):
            """Whatever it says on stdout is not the point here."""
        return channel.exit_status(10), channel.stderr_tail()
    finally:
        channel.close()


@pytest.mark.parametrize(
    "command",
    [
        ["id"],
        ["sh", "-c", "id > /tmp/owned"],
        ["serve;id"],
        ["serve", "--state", "/etc"],
        ["/bin/sh"],
        ["x/drbackup-agent", "install"],
    ],
)
def test_nothing_else_can_be_run_with_the_controllers_key(sshd: Sshd, command: list[str]) -> None:
    sshd.allow_user(forced())
    status, said = exit_of(sshd.address(), command)
    assert status == 126
    assert "may only ask for" in said


def test_the_forced_command_greets_whatever_path_was_asked_for(sshd: Sshd) -> None:
    sshd.allow_user(forced())
    channel = open_channel(sshd.address(), ["/opt/drbackup-agent/current/drbackup-agent", "serve"])
    try:
        assert channel.reader.read(17) == b"DRBACKUP-AGENT/1\n"
    finally:
        channel.close()


def test_a_restricted_key_forwards_no_port(sshd: Sshd) -> None:
    sshd.allow_user(forced())
    with pytest.raises(HostUnreachable, match="does not lead"):
        open_channel(sshd.address(name="db2", jump=sshd.address(name="gate")), ["serve"])


# --- through a jump host


def test_through_a_jump_host_whose_key_may_only_forward_there(sshd_factory: Callable[..., Sshd]) -> None:
    gate, inner = sshd_factory(), sshd_factory()
    gate.allow_user(f'restrict,port-forwarding,permitopen="127.0.0.1:{inner.port}",command="/bin/false"')
    handler = MemoryHandler()
    assert run(inner.address(jump=gate.address(name="gate")), "relay", handler)
    assert len(handler.packs) == PACKS


def test_a_jump_hosts_key_is_pinned_as_well(sshd_factory: Callable[..., Sshd], tmp_path: Path) -> None:
    gate, inner = sshd_factory(), sshd_factory()
    other = make_key(tmp_path / "other")
    with pytest.raises(HostKeyChanged) as caught:
        open_channel(inner.address(jump=gate.address(name="gate", host_keys=(other,))), ["true"])
    assert caught.value.host == "gate"
    with pytest.raises(HostKeyUnknown):
        open_channel(inner.address(jump=gate.address(name="gate", host_keys=())), ["true"])


def test_the_host_behind_a_jump_host_is_checked_too(sshd_factory: Callable[..., Sshd], tmp_path: Path) -> None:
    gate, inner = sshd_factory(), sshd_factory()
    with pytest.raises(HostKeyChanged) as caught:
        open_channel(inner.address(host_keys=(make_key(tmp_path / "other"),), jump=gate.address(name="gate")), ["true"])
    assert caught.value.host == "db1"


def test_a_failed_try_leaves_no_threads_or_connections(sshd: Sshd, tmp_path: Path) -> None:
    make_key(tmp_path / "stranger")
    for _ in range(3):
        with suppress(DrbackupError):
            open_channel(sshd.address(key_file=str(tmp_path / "stranger")), ["true"])
    run(sshd.address(), "quick")
    wait_until(lambda: not ours())


def ours() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(("stderr", "listen", "answer", "Thread-ssh"))]
