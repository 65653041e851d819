"""The unit files, judged by systemd's own tools."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as it will be, but for the program, which this machine has not installed."""
    program = tmp_path / "drbackupd"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = (UNITS / "drbackupd.service").read_text()
    changed = text.replace("/opt/drbackup/bin/drbackupd", str(program))
    assert changed != text
    copy = tmp_path / "drbackupd.service"
    copy.write_text(changed)
    return copy


@needs_systemd
def test_systemd_finds_nothing_wrong_in_the_unit(unit: Path) -> None:
    words = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@needs_systemd
def test_the_service_is_exposed_at_most_3_of_10(unit: Path) -> None:
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=30", "--no-pager", str(unit)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", ended.stdout)
    assert found is not None, ended.stdout + ended.stderr
    assert ended.returncode == 0
    assert float(found.group(1)) <= 3.0


@needs_systemd
@pytest.mark.parametrize(
    ("tool", "file"), [("systemd-sysusers", "drbackup.sysusers.conf"), ("systemd-tmpfiles", "drbackup.tmpfiles.conf")]
)
def test_accounts_and_folders_are_understood(tmp_path: Path, tool: str, file: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    more = ["--dry-run"] if tool == "systemd-sysusers" else ["--create"]
    accounts = tmp_path / "etc"
    accounts.mkdir()
    (accounts / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\ndrbackup:x:998:998::/:/usr/sbin/nologin\n")
    (accounts / "group").write_text("root:x:0:\ndrbackup:x:998:\n")
    words = [tool, f"--root={tmp_path}", *more, str(UNITS / file)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, json.dumps([ended.stdout, ended.stderr])


def test_every_key_of_the_unit_is_a_key_of_the_controller() -> None:
    from drbackup.controller.home.keyfiles import CATALOG_KEY, DOMAINS_KEY, EVIDENCE_KEY

    text = (UNITS / "drbackupd.service").read_text()
    assert set(re.findall(r"^LoadCredential=([^:]+):", text, re.MULTILINE)) == {CATALOG_KEY, DOMAINS_KEY, EVIDENCE_KEY}
