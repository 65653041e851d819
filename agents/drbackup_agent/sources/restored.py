"""A restored copy in a drill's sandbox: what a check may ask of it, whatever kind its source is.

A copy is only ever read. Queries run without the right to write and with a time limit; what a database says when one
fails is cut down to its error's code, because a message may quote a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from drbackup.vault.read.reader import PointReader

QUERY_SECONDS = 300


class Refuted(Exception):
    """A check that can't be measured as it was asked. The text names no content."""


class Counted(msgspec.Struct, frozen=True):
    """One table: rows and digest as recomputed, and as they were counted while the source was copied."""

    name: str
    rows: int
    wanted_rows: int
    digest: bytes
    wanted_digest: bytes


class RestoredCopy(Protocol):
    """One source's restored copy. ``folder``: where its files lie, None for a database server."""

    source: str
    reader: PointReader
    folder: Path | None

    def query(self, text: str) -> Iterator[bytes]:
        """Each row's only column as text, empty for NULL. Raises :class:`Refuted` when there are more columns."""
        ...

    def counted(self) -> Iterator[Counted]:
        """Every table, counted again on the copy."""
        ...

    def canary_ns(self) -> int:
        """The newest canary inside the data, UTC nanoseconds; 0 when there is none."""
        ...


@dataclass(slots=True)
class FolderCopy:
    """A tree of files that is no database and holds no canary, like a program's output."""

    source: str
    reader: PointReader
    folder: Path | None

    def query(self, text: str) -> Iterator[bytes]:
        raise Refuted(f"source {self.source} is no database, so it can't be queried")

    def counted(self) -> Iterator[Counted]:
        raise Refuted(f"source {self.source} is no database; use files: match")

    def canary_ns(self) -> int:
        return 0
