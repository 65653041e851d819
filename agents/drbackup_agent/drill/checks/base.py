"""What all kinds of check share: the signature of a measurement, and names of differences that show no content."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from blake3 import blake3

from drbackup.wire.messages import Measured
from drbackup.wire.specs import CheckSpec
from drbackup_agent.sources.restored import RestoredCopy

MOST_WRONG = 10  # differences that a result names
Copies = Mapping[str, RestoredCopy]  # by source; the check's own source is among them
Measure = Callable[[CheckSpec, Copies], Measured]
"""Measures one check. Raises :class:`~drbackup_agent.sources.restored.Refuted` for one that can't be measured as asked.

What it returns are numbers, digests and table names: never a row, a file's name or its content."""


def path_digest(path: bytes) -> str:
    """The name of a path in a result: the first 12 hex digits of its BLAKE3, so that the path itself is not told."""
    digest: str = blake3(path).hexdigest()
    return digest[:12]
