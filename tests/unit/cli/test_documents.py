"""What is generated or translated is current: the command reference, the exit codes, the Chinese catalogue."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from drbackup.errors import all_errors

ROOT = Path(__file__).resolve().parent.parent.parent.parent


@pytest.mark.parametrize("script", ["cli_reference.py", "translations.py"])
def test_what_is_generated_is_current(script: str) -> None:
    command = [sys.executable, str(ROOT / "scripts" / script), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"run: python scripts/{script}\n{done.stdout}{done.stderr}"


def test_every_exit_code_is_documented_and_no_other() -> None:
    text = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert documented == {kind.exit_code for kind in all_errors().values()} | {0}
