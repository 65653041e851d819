"""A restored SQLite file in a drill's sandbox."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from blake3 import blake3

from drbackup.vault.read.reader import PointReader
from drbackup.vault.tree import Entry, EntryKind
from drbackup_agent.sources.restored import QUERY_SECONDS, Counted, Refuted
from drbackup_agent.sources.sqlite.source import read_canary


@dataclass(slots=True)
class SqliteCopy:
    """One restored SQLite file. It is opened read-only and immutable, so that no journal is made beside it."""

    source: str  # its name in the drill
    reader: PointReader
    folder: Path | None  # where the file is; never None here

    def query(self, text: str) -> Iterator[bytes]:
        deadline = time.monotonic() + QUERY_SECONDS
        with closing(self._open()) as database:
            database.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
            try:
                cursor = database.execute(text)
                if cursor.description is None or len(cursor.description) != 1:
                    raise Refuted("the query gives not exactly one column")
                for (cell,) in cursor:
                    yield _cell(cell)
            except sqlite3.Error as bad:
                raise Refuted(f"the query failed: {bad.sqlite_errorname}") from bad

    def counted(self) -> Iterator[Counted]:
        """One count for the whole file: its digest, and the rows of all its tables, which the tree does not have.

        Raises :class:`Refuted` when the file can't be read or fails its integrity check.
        """
        entry = self._entry()
        with closing(self._open()) as database:
            try:
                sound = [row[0] for row in database.execute("PRAGMA integrity_check(1)")] == ["ok"]
                names = [row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type='table'")]
                rows = sum(database.execute(f"SELECT count(*) FROM {_quoted(name)}").fetchone()[0] for name in names)
            except sqlite3.Error as bad:
                raise Refuted(f"the restored database can't be read: {bad.sqlite_errorname}") from bad
        if not sound:
            raise Refuted("the restored database fails its integrity check")
        with self._path().open("rb") as file:
            digest = blake3()
            while block := file.read(1 << 20):
                digest.update(block)
        yield Counted("database file", rows, rows, digest.digest(), entry.digest)

    def canary_ns(self) -> int:
        return read_canary(str(self._path()))

    def _entry(self) -> Entry:
        entry = next((each for each in self.reader.entries() if each.kind is EntryKind.FILE), None)
        if entry is None:
            raise Refuted("the point holds no database file")
        return entry

    def _path(self) -> Path:
        assert self.folder is not None
        return self.folder / os.fsdecode(self._entry().path)

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(f"file:{quote(str(self._path()))}?mode=ro&immutable=1", uri=True)
        database.execute("PRAGMA query_only=ON")
        return database


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _cell(cell: object) -> bytes:
    if cell is None:
        return b""
    if isinstance(cell, bytes):
        return cell
    return str(cell).encode("utf-8", "surrogateescape")
