"""What keeps a host from running the agent, from its answers alone."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from drbackup.errors import HostUnsuitable
from drbackup.fleet.bundle import Bundle
from drbackup.fleet.preflight import HostFacts, look, problems, require_suitable
from drbackup.fleet.remote import LocalShell

GOOD = HostFacts(
    system="Linux",
    machine="x86_64",
    libc="glibc 2.36",
    python3="3.11.2",
    wanted="3.11.2",
    existing="/opt",
    folder=True,
    writable=True,
    free=10 << 30,
    account="root",
)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    (tmp_path / "agent").write_bytes(b"x" * 1000)
    return Bundle(tmp_path / "agent", "ab" * 32, "1.0", "3.11", "x86_64", "2.28", 40 << 20)


def test_a_fit_host_has_no_problems(bundle: Bundle) -> None:
    assert problems(GOOD, bundle, "/opt/drbackup-agent") == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"system": "FreeBSD"}, "needs Linux"),
        ({"system": ""}, "unknown system"),
        ({"machine": "aarch64"}, "aarch64 machine"),
        ({"wanted": "", "python3": ""}, "no Python"),
        ({"wanted": "", "python3": "3.9.2"}, "too old"),
        ({"wanted": "", "python3": "3.13.1"}, "this bundle is for 3.11"),
        ({"libc": "glibc 2.17"}, "glibc is 2.17"),
        ({"libc": ""}, "not glibc"),
        ({"folder": False}, "not a folder"),
        ({"writable": False, "account": "li"}, "li can't write to /opt"),
        ({"free": 50 << 20}, "50 MiB free"),
    ],
)
def test_each_problem_is_named(bundle: Bundle, changed: dict[str, object], words: str) -> None:
    facts = msgspec.structs.replace(GOOD, **changed)  # type: ignore[arg-type]
    with pytest.raises(HostUnsuitable, match=words) as caught:
        require_suitable(facts, bundle, "/opt/drbackup-agent", "db1")
    assert caught.value.host == "db1"
    assert caught.value.safe == "nothing was installed or changed on the host"


def test_all_problems_are_named_at_once(bundle: Bundle) -> None:
    assert len(problems(msgspec.structs.replace(GOOD, machine="s390x", writable=False, free=0), bundle, "/opt/a")) == 3


def test_this_host_answers_the_question(bundle: Bundle, tmp_path: Path) -> None:
    facts = look(LocalShell("db1"), bundle, str(tmp_path / "not" / "yet" / "there"))
    assert facts.system == "Linux"
    assert facts.existing == str(tmp_path)
    assert facts.free > 0
    assert facts.folder
    assert not (tmp_path / "not").exists()


def test_a_login_without_a_shell_is_said_so(bundle: Bundle) -> None:
    with pytest.raises(HostUnsuitable, match="does not run a shell command"):
        look(LocalShell("db1"), bundle, "/opt", sudo=["/bin/false"])
