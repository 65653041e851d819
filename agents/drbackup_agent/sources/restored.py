"""A restored copy in a drill's sandbox: what a check may ask of it, for every kind of source.

A copy is only read. Queries run without the right to write and with a time limit. Of a failed query only the error's
code is kept, because a database's message may quote a row.
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
    """One table: rows and digest of the restored copy, and those taken while the source was copied."""

    name: str
    rows: int  # of the restored copy
    wanted_rows: int  # in the tree
    digest: bytes  # BLAKE3 of the restored copy
    wanted_digest: bytes  # in the tree


class RestoredCopy(Protocol):
    """One source's restored copy."""

    source: str  # its name in the drill
    reader: PointReader
    folder: Path | None  # where its files are; None for a database server

    def query(self, text: str) -> Iterator[bytes]:
        """Each row's only column as text, empty for NULL. Raises :class:`Refuted` for more columns or a failure."""
        ...

    def counted(self) -> Iterator[Counted]:
        """Every table, counted again on the copy. Raises :class:`Refuted` where there is none or it can't be read."""
        ...

    def canary_ns(self) -> int:
        """The newest canary in the data, UTC nanoseconds; 0 without one."""
        ...


@dataclass(slots=True)
class FolderCopy:
    """A tree of files that is no database and holds no canary, such as a program's output."""

    source: str  # its name in the drill
    reader: PointReader
    folder: Path | None  # where the files are

    def query(self, text: str) -> Iterator[bytes]:
        raise Refuted(f"source {self.source} is no database, so it can't be queried")

    def counted(self) -> Iterator[Counted]:
        raise Refuted(f"source {self.source} is no database; use files: match")

    def canary_ns(self) -> int:
        return 0
