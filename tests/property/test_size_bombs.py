"""Small bytes that claim to be large: refused, or read in memory that a server has to spare.

Each is measured in a process of its own, because a decoder's memory must not hide in what the tests have taken before.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys

import pytest

from tests.property.size_bombs import BOMBS

MOST = 512  # MiB above what the process had before: a page of 16 MiB, all tiny holes, in Python's objects


@functools.cache
def measured() -> dict[str, int]:
    """Name → MiB. A reading that ended otherwise than by our own error is missing."""
    command = [sys.executable, "-m", "tests.property.size_bombs"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: each for line in done.stdout.splitlines() for name, each in json.loads(line).items()}


@pytest.mark.parametrize("name", BOMBS)
def test_a_size_bomb_takes_no_more_memory_than_there_is(name: str) -> None:
    assert name in measured(), "ended by another exception, see stderr"
    assert measured()[name] < MOST
