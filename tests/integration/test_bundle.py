"""The agent's file: what is in it, that it is the same every time, and that it runs where nothing of ours is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from drbackup import __version__
from drbackup.fleet.bundle import BUNDLED, FORBIDDEN, Bundle, build, our_modules
from drbackup.wire.framing import GREETING

BARE = {
    "PATH": os.pathsep.join([str(Path(sys.executable).resolve().parent), "/usr/bin", "/bin"]),
    "HOME": "/nonexistent",
}


@pytest.fixture
def agent_file(real_bundle: Bundle, tmp_path: Path) -> Path:
    """A fresh copy, not unpacked yet."""
    return Path(shutil.copy2(real_bundle.path, tmp_path / "drbackup-agent"))


def greeting(agent: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [str(agent), "serve"], env=environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )


def test_it_holds_what_the_agent_imports_and_nothing_of_the_controller(real_bundle: Bundle) -> None:
    with zipfile.ZipFile(real_bundle.path) as archive:
        names = [name.removeprefix("site-packages/") for name in archive.namelist()]
    tops = {name.split("/")[0].lower() for name in names}
    assert not tops.intersection(FORBIDDEN)
    assert tops.issuperset(BUNDLED)
    assert tops.issuperset({"cffi", "drbackup_agent"})
    ours = {name.split("/")[1].removesuffix(".py") for name in names if name.startswith("drbackup/")}
    assert ours == {"__init__", "errors", "model", "stores", "system", "vault", "wire"}
    s3 = {name.split("/")[3] for name in names if name.startswith("drbackup/stores/s3/")}
    assert s3 == {"__init__.py", "signed.py", "status.py"}, "signed uploads, never a client with a credential"
    assert not any(".." in name for name in names)


def test_the_agent_imports_only_the_floors_it_may() -> None:
    allowed = (
        "drbackup_agent",
        "drbackup.errors",
        "drbackup.system",
        "drbackup.wire",
        "drbackup.vault",
        "drbackup.stores",
        "drbackup.model",
    )
    modules = our_modules()
    assert all(name == "drbackup" or name.startswith(allowed) for name in modules)
    assert {name for name in modules if name.startswith("drbackup.model.")} == {"drbackup.model.point"}
    assert "drbackup.system.logs" not in modules, "it needs structlog, which the agent does not carry"


def test_the_same_inputs_give_the_same_bytes(real_bundle: Bundle, tmp_path: Path) -> None:
    assert build(tmp_path).sha256 == real_bundle.sha256


def test_it_runs_with_nothing_of_ours_around_and_unpacks_once(agent_file: Path) -> None:
    first = greeting(agent_file, BARE)
    assert first.stdout.startswith(GREETING), first.stderr.decode()
    unpacked = next((agent_file.parent / "unpacked").glob("drbackup-agent_*"))
    before = unpacked.stat().st_ctime_ns
    assert greeting(agent_file, BARE).stdout.startswith(GREETING)
    assert unpacked.stat().st_ctime_ns == before


def test_the_accounts_environment_cannot_slip_code_in(agent_file: Path, tmp_path: Path) -> None:
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "sitecustomize.py").write_text("print('owned', flush=True)\n")
    (evil / "msgspec.py").write_text("raise SystemExit('owned')\n")
    outcome = greeting(
        agent_file, {**BARE, "PYTHONPATH": str(evil), "SHIV_ROOT": str(evil), "SHIV_ENTRY_POINT": "os:abort"}
    )
    # The first interpreter still reads PYTHONPATH before our first line runs; the agent itself does not.
    assert outcome.stdout.removeprefix(b"owned\n").startswith(GREETING)
    assert not list(evil.glob("drbackup-agent*"))


def test_version_loads_all_of_the_agent(agent_file: Path) -> None:
    ran = subprocess.run([str(agent_file), "version"], env=BARE, cwd="/", capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(f"drbackup-agent {__version__} ")


@pytest.mark.parametrize(("name", "value"), [("python", "3.99"), ("machine", "riscv64"), ("system", "Plan9")])
def test_the_wrong_host_is_told_so_clearly(agent_file: Path, tmp_path: Path, name: str, value: str) -> None:
    other = tmp_path / "other-agent"
    with zipfile.ZipFile(agent_file) as source, zipfile.ZipFile(other, "w") as target:
        for entry in source.namelist():
            data = source.read(entry)
            if entry == "made_for.json":
                data = json.dumps({**json.loads(data), name: value}).encode()
            target.writestr(entry, data)
    ran = subprocess.run([sys.executable, str(other), "version"], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 78
    assert f"made for {name} {value}" in ran.stderr
    assert not (tmp_path / "unpacked").exists()
