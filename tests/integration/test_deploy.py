"""Deploying an agent: on this host and over a real sshd, with small stand-in bundles and with the real one."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from drbackup import __version__
from drbackup.errors import AgentMissing, AgentVersionMismatch, HostUnreachable, HostUnsuitable
from drbackup.fleet import local, ssh
from drbackup.fleet.bundle import Bundle
from drbackup.fleet.deploy import deploy
from drbackup.fleet.deployed import Deployed, expected, remember
from drbackup.fleet.no_requests import NoRequests
from drbackup.fleet.remote import LocalShell, Ran, ssh_shell
from drbackup.fleet.session import AgentSession, Timeouts
from drbackup.wire.messages import PreflightJob, PreflightResult
from tests.support.services.sshd import Sshd

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
needs_python = pytest.mark.skipif(
    shutil.which(f"python{PYTHON}", path="/usr/local/bin:/usr/bin:/bin") is None
    and shutil.which(f"python{PYTHON}") is None,
    reason="no pythonX.Y on the path",
)


@pytest.fixture
def small_bundle(tmp_path: Path, real_bundle: Bundle) -> Callable[[str], Bundle]:
    """A stand-in agent file: a shell script with this text."""

    def make(text: str) -> Bundle:
        data = f"#!/bin/sh\n{text}\n".encode()
        digest = hashlib.sha256(data).hexdigest()
        path = tmp_path / f"made-{digest[:8]}"
        path.write_bytes(data)
        return msgspec.structs.replace(real_bundle, path=path, sha256=digest, version="1.0", unpacked=1000)

    return make


def in_service(folder: Path) -> str:
    return str((folder / "current").readlink())


def test_a_new_version_lies_beside_the_old_one_and_is_switched_to(
    tmp_path: Path, small_bundle: Callable[[str], Bundle]
) -> None:
    folder = tmp_path / "opt" / "agent"
    first, second = small_bundle("echo one"), small_bundle("echo two")
    assert deploy(LocalShell("db1"), first, str(folder)).previous == ""
    done = deploy(LocalShell("db1"), second, str(folder))
    assert (done.previous, done.says) == (first.folder_name, "two")
    assert in_service(folder) == second.folder_name
    assert (folder / first.folder_name / "drbackup-agent").read_bytes() == first.path.read_bytes()
    assert (folder / "current" / "drbackup-agent").stat().st_mode & 0o777 == 0o755


def test_deploying_the_same_again_changes_nothing(tmp_path: Path, small_bundle: Callable[[str], Bundle]) -> None:
    bundle = small_bundle("echo one")
    deploy(LocalShell("db1"), bundle, str(tmp_path / "a"))
    assert deploy(LocalShell("db1"), bundle, str(tmp_path / "a")).previous == bundle.folder_name
    assert in_service(tmp_path / "a") == bundle.folder_name


def test_a_version_that_does_not_run_is_never_switched_to(
    tmp_path: Path, small_bundle: Callable[[str], Bundle]
) -> None:
    folder = tmp_path / "a"
    good, bad = small_bundle("echo one"), small_bundle("echo 'library missing' >&2; exit 3")
    deploy(LocalShell("db1"), good, str(folder))
    with pytest.raises(AgentMissing, match="exit status 3: library missing") as caught:
        deploy(LocalShell("db1"), bad, str(folder))
    assert caught.value.host == "db1"
    assert in_service(folder) == good.folder_name
    assert not (folder / bad.folder_name).exists()


def test_a_version_that_fails_in_service_is_rolled_back(tmp_path: Path, small_bundle: Callable[[str], Bundle]) -> None:
    folder = tmp_path / "a"
    good, bad = small_bundle("echo one"), small_bundle('case "$0" in */current/*) exit 4;; esac; echo two')
    deploy(LocalShell("db1"), good, str(folder))
    with pytest.raises(AgentMissing, match="exit status 4"):
        deploy(LocalShell("db1"), bad, str(folder))
    assert in_service(folder) == good.folder_name
    fresh = tmp_path / "b"
    with pytest.raises(AgentMissing):
        deploy(LocalShell("db1"), bad, str(fresh))
    assert not (fresh / "current").is_symlink()


class Damaging(LocalShell):
    """A line that alters or cuts what is uploaded."""

    def __init__(self, alter: Callable[[bytes], bytes]) -> None:
        super().__init__("db1")
        self._alter = alter

    def run(self, command: object, given: bytes = b"", timeout: float = 120.0) -> Ran:
        return super().run(command, self._alter(given) if given else given, timeout)  # type: ignore[arg-type]


@pytest.mark.parametrize("alter", [lambda data: data[:-1], lambda data: b"X" + data[1:]], ids=["cut", "flipped"])
def test_a_damaged_upload_is_thrown_away(
    tmp_path: Path, small_bundle: Callable[[str], Bundle], alter: Callable[[bytes], bytes]
) -> None:
    folder = tmp_path / "a"
    with pytest.raises(AgentMissing, match="arrived damaged"):
        deploy(Damaging(alter), small_bundle("echo one"), str(folder))
    assert [path.name for path in folder.iterdir()] == [".deploy.lock"]


@pytest.mark.parametrize("moment", ["before the switch", "after the switch"])
def test_an_installer_killed_at_any_moment_leaves_a_whole_version_and_the_next_deploy_succeeds(
    tmp_path: Path, small_bundle: Callable[[str], Bundle], moment: str
) -> None:
    folder = tmp_path / "a"
    where = "*/current/*" if moment == "after the switch" else "*"
    flag = tmp_path / "killed-once"
    killer = f'[ -e {flag} ] || case "$0" in {where}) touch {flag}; kill -9 $PPID;; esac; echo two'
    good, bad = small_bundle("echo one"), small_bundle(killer)
    deploy(LocalShell("db1"), good, str(folder))
    with pytest.raises(AgentMissing, match="killed on the host"):
        deploy(LocalShell("db1"), bad, str(folder))
    assert in_service(folder) == (bad if moment == "after the switch" else good).folder_name
    assert subprocess.run([folder / "current" / "drbackup-agent", "version"], stdout=subprocess.PIPE).returncode == 0
    assert deploy(LocalShell("db1"), bad, str(folder)).says == "two"
    assert in_service(folder) == bad.folder_name


def test_an_unsuitable_host_is_said_so_before_anything_is_changed(
    tmp_path: Path, small_bundle: Callable[[str], Bundle]
) -> None:
    folder = tmp_path / "a"
    bundle = msgspec.structs.replace(small_bundle("echo one"), python="3.99", machine="riscv64", unpacked=1 << 60)
    with pytest.raises(HostUnsuitable) as caught:
        deploy(LocalShell("db1"), bundle, str(folder))
    for word in ("riscv64", "3.99", "MiB free"):
        assert word in caught.value.message
    assert not folder.exists()


def test_two_deploys_at_once_do_not_mix(tmp_path: Path, small_bundle: Callable[[str], Bundle]) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    with subprocess.Popen(
        ["flock", str(folder / ".deploy.lock"), "sh", "-c", "echo held; read line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(AgentMissing, match="another deploy"):
            deploy(LocalShell("db1"), small_bundle("echo one"), str(folder))
        holder.stdin.close()


# --- over ssh, the real file


@pytest.mark.sshd
@needs_python
def test_the_real_agent_is_deployed_over_ssh_and_answers_by_the_restricted_key(
    sshd: Sshd, tmp_path: Path, real_bundle: Bundle
) -> None:
    folder, home = tmp_path / "opt", tmp_path / "home"
    home.mkdir()
    with ssh_shell(sshd.address()) as shell:
        remember(home, "db1", deploy(shell, real_bundle, str(folder)))
    sshd.allow_user(f'restrict,command="{folder}/current/drbackup-agent forced"')
    wanted = expected(home, "db1")
    assert wanted is not None
    session = AgentSession(ssh.open_channel(sshd.address(), ["serve"]), Timeouts())
    try:
        hello = session.greet()
        session.judge(wanted)
        seen = session.work(PreflightJob(), NoRequests())
    finally:
        session.close()
    assert isinstance(seen, PreflightResult)
    assert seen.lines
    assert (hello.version, hello.bundle) == (__version__, real_bundle.sha256)


@pytest.mark.sshd
def test_the_controllers_restricted_key_cannot_deploy(
    sshd: Sshd, tmp_path: Path, small_bundle: Callable[[str], Bundle]
) -> None:
    sshd.allow_user(f'restrict,command="{sys.executable} -m drbackup_agent forced"')
    with ssh_shell(sshd.address()) as shell, pytest.raises(HostUnsuitable, match="may only ask for"):
        deploy(shell, small_bundle("echo one"), str(tmp_path / "opt"))
    assert not (tmp_path / "opt").exists()


@pytest.mark.sshd
def test_an_upload_over_ssh_that_takes_too_long_is_given_up(sshd: Sshd) -> None:
    with ssh_shell(sshd.address()) as shell, pytest.raises(HostUnreachable, match="did not end"):
        shell.run(["sleep", "60"], timeout=0.5)


def test_an_altered_file_on_the_host_is_noticed_by_the_next_run(tmp_path: Path, real_bundle: Bundle) -> None:
    altered = tmp_path / "drbackup-agent"
    altered.write_bytes(real_bundle.path.read_bytes() + b"\0")
    altered.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    remember(home, "db1", Deployed(__version__, real_bundle.sha256, str(tmp_path), "", ""))
    wanted = expected(home, "db1")
    assert wanted is not None
    session = AgentSession(local.open_channel("db1", [sys.executable, str(altered), "serve"]), Timeouts())
    try:
        session.greet()
        with pytest.raises(AgentVersionMismatch, match="not the deployed one"):
            session.judge(wanted)
    finally:
        session.close()
