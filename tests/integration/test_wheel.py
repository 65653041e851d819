"""The package that is installed elsewhere holds what only this checkout seems to need."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from drbackup.reader import stranger

HERE = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    built = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob("*.whl")
    return found


def test_the_strangers_reader_ships(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("drbackup/reader/stranger.py") == Path(stranger.__file__).read_bytes()


def test_pages_translations_levels_and_the_agent_ship(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert names >= {
        "drbackup/reports/templates/break_glass.html",
        "drbackup/locale/zh_CN/LC_MESSAGES/drbackup.mo",
        "drbackup_agent/serve.py",
    }
    assert any(name.startswith("drbackup/levels/") for name in names)
    assert not any(name.startswith(("tests/", "tools/")) for name in names)
