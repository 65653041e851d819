"""Waiting for a step by its own sign: a catalog's row, a line of a log, a file, a process that is gone.

The only place where tests look at a clock to give up. It is a last net, far beyond what any machine needs: no test may
depend on how long something takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 240.0  # seconds until a sign that never comes fails its test
T = TypeVar("T")


def wait_until(met: Callable[[], T], *, pause: float = 0.02) -> T:
    """The first true value of ``met()``. Fails the test when none ever comes. ``pause``: seconds between two looks."""
    until = time.monotonic() + PATIENCE
    while not (found := met()):
        assert time.monotonic() < until, "the awaited sign never came"
        time.sleep(pause)
    return found
