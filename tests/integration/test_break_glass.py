"""The break-glass sheet is followed word by word, with no drbackup, and brings the city back."""

from __future__ import annotations

import hashlib
import html
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drbackup.reader import stranger
from drbackup.reports.break_glass import write_sheets
from tests.integration.test_recovery import fingerprint
from tests.support.cities.drilled_city import PORTAL, REGISTRY, DrilledCity
from tests.support.services.postgres import SUPERUSER, PostgresServer

pytestmark = pytest.mark.postgres
READER = Path(stranger.__file__)


@pytest.fixture
def city(tmp_path: Path, postgres_server: PostgresServer) -> Iterator[DrilledCity]:
    made = DrilledCity(tmp_path, postgres_server).build()
    yield made
    made.drop()


def commands(page: str) -> list[str]:
    """The lines a person would type: fetching, reading, putting back. Python alone, without what lies around it."""
    blocks = [html.unescape(block) for block in re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)]
    lines = [line for block in blocks for line in block.strip().splitlines()]
    typed = [line for line in lines if not line.startswith(("pip ", "shamir ", "#"))]
    return [line.replace("python ", "python -I ", 1) if line.startswith("python ") else line for line in typed]


def test_a_person_with_the_sheet_a_key_and_the_store_brings_the_city_back(city: DrilledCity, tmp_path: Path) -> None:
    handler = tmp_path / "desk"
    with city.open() as installation:
        city.back_up(installation)
        write_sheets(installation, handler, now=datetime.now(UTC))
    pages = [(handler / f"break-glass-{system}.html").read_text("utf-8") for system in (REGISTRY, PORTAL)]
    before = fingerprint(city)
    shutil.copy(city.root / "home" / "keys" / "drill.key", handler / "recovery.key")
    city.burn()
    city.scans.mkdir(parents=True)
    shutil.rmtree(city.root / "home")  # the backup centre burnt, too
    tools = f"{Path(sys.executable).parent}:{city.server.binaries}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": tools, "PGHOST": str(city.server.folder), "PGUSER": SUPERUSER}
    for page in pages:
        shutil.rmtree(handler / "store", ignore_errors=True)
        for line in commands(page):
            done = subprocess.run(
                ["bash", "-c", line], cwd=handler, env=environment, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert fingerprint(city) == before


def test_the_reader_that_the_sheets_name_lies_beside_them_byte_for_byte(city: DrilledCity, tmp_path: Path) -> None:
    with city.open() as installation:
        paths = write_sheets(installation, tmp_path / "sheets", now=datetime.now(UTC))
    reader = tmp_path / "sheets" / "stranger.py"
    assert reader.read_bytes() == READER.read_bytes()
    assert reader.stat().st_mode & 0o777 == 0o600
    for path in paths:
        assert hashlib.sha256(reader.read_bytes()).hexdigest() in path.read_text("utf-8")


def test_every_system_has_a_sheet_without_a_secret(city: DrilledCity, tmp_path: Path) -> None:
    with city.open() as installation:
        paths = write_sheets(installation, tmp_path / "sheets", now=datetime.now(UTC))
    assert [path.name for path in paths] == ["break-glass-portal.html", "break-glass-registry.html"]
    seeds = [path.read_text().strip() for path in (city.root / "home" / "keys").iterdir()]
    for path in paths:
        assert path.stat().st_mode & 0o777 == 0o600
        text = path.read_text()
        assert not any(seed in text for seed in seeds)
        assert "应急恢复单" in text
    assert "registry" in paths[0].read_text()  # what must be back first
