"""The words of a probe: a promise, how much it matters, and how it is tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

Kept = Literal["yes", "no", "unknown"]
Weight = Literal["needed", "lock", "signed", "useful"]


class Trial(msgspec.Struct, frozen=True):
    """One promise and how to try it. ``attempt`` returns (kept, detail)."""

    promise: str
    weight: Weight
    attempt: Callable[[], tuple[Kept, str]]
