"""One trial of a probe: a promise, how much it matters, and how it is tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

Kept = Literal["yes", "no", "unknown"]
# needed: by every vault. lock: to protect copies from a stolen credential. signed: by agents that upload by
# themselves. useful: to an operator.
Weight = Literal["needed", "lock", "signed", "useful"]


class Trial(msgspec.Struct, frozen=True):
    """One promise of a store, and how to try it."""

    promise: str  # a sentence for a person
    weight: Weight
    attempt: Callable[[], tuple[Kept, str]]  # gives (kept, detail); may raise DrbackupError
