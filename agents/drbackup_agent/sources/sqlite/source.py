"""One SQLite database, copied by SQLite's online backup API while it is in use.

The copy is made in the agent's own state folder in one read transaction and checked with ``quick_check``. Only then is
it sent, in blocks that are multiples of its pages. A database in WAL mode does not wait. With a rollback journal,
writers wait for as long as the local copy takes.
"""

from __future__ import annotations

import os
import sqlite3
import stat as modes
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from msgspec.structs import replace

from drbackup.errors import (
    NOTHING_COMMITTED_LOST,
    HostUnsuitable,
    RestoreMismatch,
    SourceUnreadable,
    SourceUnstable,
    TargetOccupied,
    say,
)
from drbackup.model.point import SourceFacts
from drbackup.system.durable import put_in_place
from drbackup.vault.tree import EntryKind
from drbackup.vault.write.writer import PointWriter
from drbackup.wire.messages import PreflightCheck
from drbackup_agent.sources.base import Pin, SourceContext, Substance, Watch
from drbackup_agent.sources.files.entries import entry_of, read_xattrs
from drbackup_agent.sources.sqlite.spec import SqliteSpec

FIXED = 128 << 10  # bytes of a chunk: a multiple of every page size (512 bytes to 64 KiB)
_READ = 4 << 20  # bytes
_BUSY_SECONDS = 60.0
CANARY_TABLE = "drbackup_canary"


class SqliteSource:
    """The database at ``spec.path`` as a :class:`~drbackup_agent.sources.base.Source`."""

    kind = "sqlite"

    def __init__(self, spec: SqliteSpec, context: SourceContext) -> None:
        self._spec = spec
        self._context = context
        self._pin = Pin(0)
        self._canary_ns = 0
        self._canary_note = ""
        self._copy: Path | None = None
        self._tables = self._bytes = 0

    def preflight(self) -> list[PreflightCheck]:
        name = f"database {self._spec.path}"
        try:
            with closing(self._connect()) as database:
                database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except (sqlite3.Error, SourceUnreadable) as bad:
            return [PreflightCheck(name, False, str(bad))]
        return [PreflightCheck(name, True, f"readable, sqlite {sqlite3.sqlite_version}")]

    def pin(self) -> Pin:
        """The instant of the local copy's read transaction. The copy is made here, before anything is sent.

        Raises :class:`SourceUnstable` for a locked database, :class:`HostUnsuitable` without room for the copy, and
        :class:`SourceUnreadable` otherwise.
        """
        if self._spec.canary:
            now = self._context.clock_ns()
            self._canary_note = _write_canary(self._spec.path, now)
            self._canary_ns = 0 if self._canary_note else now
        self._pin = Pin(self._context.clock_ns())
        self._copy = self._new_copy()
        try:
            with closing(self._connect()) as source, closing(sqlite3.connect(self._copy)) as target:
                target.execute("PRAGMA journal_mode=OFF")
                target.execute("PRAGMA synchronous=OFF")  # a crash discards the copy anyway
                source.backup(target)
                require_sound(target, self._spec.path)
                self._tables = _count_tables(target)
        except sqlite3.OperationalError as bad:
            if bad.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise SourceUnstable(
                    say("{path}: locked for {busy_seconds} s", path=self._spec.path, busy_seconds=f"{_BUSY_SECONDS:g}"),
                    where=self._spec.path,
                ) from bad
            if bad.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise HostUnsuitable(
                    say("no room for a copy of {path} in {parent}", path=self._spec.path, parent=self._copy.parent),
                    where=str(self._copy.parent),
                    safe=NOTHING_COMMITTED_LOST,
                    hint="free space there, or name another state_folder for the agent in inventory.yaml",
                ) from bad
            raise SourceUnreadable(say("{path}: {why}", path=self._spec.path, why=bad), where=self._spec.path) from bad
        except sqlite3.Error as bad:
            raise SourceUnreadable(say("{path}: {why}", path=self._spec.path, why=bad), where=self._spec.path) from bad
        return self._pin

    def copy(self, writer: PointWriter, watch: Watch) -> SourceFacts:
        if self._canary_note:
            watch.note(self._canary_note)
        assert self._copy is not None
        path = os.fsencode(self._spec.path)
        stat = os.stat(path)
        entry = entry_of(os.path.basename(path), EntryKind.FILE, stat, read_xattrs(path))
        stamp = self._pin.pinned_ns
        entry = replace(entry, mtime_ns=stamp, atime_ns=stamp)
        content = writer.stream(_blocks(self._copy, watch), fixed=FIXED)
        self._bytes = content.size
        writer.add(entry, content)
        return SourceFacts(
            pinned_ns=self._pin.pinned_ns,
            kind=self.kind,
            tool=f"sqlite {sqlite3.sqlite_version}",
            canary_ns=self._canary_ns,
            notes=watch.notes,
        )

    def substance(self) -> Substance:
        return Substance(self._tables, self._bytes, say("tables"))

    def remember(self) -> None:
        """Nothing is remembered between runs."""

    def close(self) -> None:
        if self._copy is not None:
            self._copy.unlink(missing_ok=True)
            self._copy = None

    def _connect(self) -> sqlite3.Connection:
        path = Path(self._spec.path)
        try:
            if not modes.S_ISREG(path.stat().st_mode):
                raise SourceUnreadable(say("{path}: not a file", path=path), where=str(path))
        except OSError as bad:
            raise SourceUnreadable(say("{path}: {why}", path=path, why=bad.strerror), where=str(path)) from bad
        return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_BUSY_SECONDS)

    def _new_copy(self) -> Path:
        folder = self._context.state_folder / "work"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        copy = folder / f"sqlite-{os.getpid()}-{self._context.label[2]}.copy"
        copy.unlink(missing_ok=True)
        os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        return copy


def require_sound(database: sqlite3.Connection, name: str) -> None:
    """The database passes SQLite's ``quick_check``. Raises :class:`SourceUnreadable` otherwise."""
    said = [str(row[0]) for row in database.execute("PRAGMA quick_check(5)")]
    if said != ["ok"]:
        raise SourceUnreadable(
            say("{name}: the database is damaged: {said}", name=name, said="; ".join(said)), where=name
        )


def require_replaceable(target: Path, *, replace_it: bool) -> None:
    """The target may be replaced: it is missing or empty, or may go and is not in use.

    Raises :class:`TargetOccupied` otherwise.
    """
    if not os.path.lexists(target) or (target.is_file() and target.stat().st_size == 0):
        return
    if not replace_it:
        raise TargetOccupied(say("{target} exists", target=target), where=str(target))
    try:
        with closing(sqlite3.connect(target, timeout=0, isolation_level=None)) as database:
            database.execute("BEGIN EXCLUSIVE")
            database.execute("ROLLBACK")
    except sqlite3.OperationalError as busy:
        raise TargetOccupied(
            say("{target} is in use: {why}", target=target, why=busy), hint="stop the program that uses it"
        ) from busy
    except sqlite3.DatabaseError:
        return  # damaged: that is why it is being replaced


def place_restored(restored: Path, target: Path) -> None:
    """The restored file has passed ``quick_check`` and is durably at ``target``. Raises :class:`RestoreMismatch`.

    The journals beside a replaced database are removed first: SQLite would apply an old -wal to the new file. A crash
    between the two leaves the old database without its journal; the same command then replaces it.
    """
    try:
        with closing(sqlite3.connect(f"file:{quote(str(restored))}?mode=ro&immutable=1", uri=True)) as database:
            require_sound(database, str(target))
    except (sqlite3.Error, SourceUnreadable) as bad:
        raise RestoreMismatch(
            say("{target}: the restored database is not sound: {why}", target=target, why=bad)
        ) from bad
    for suffix in ("-wal", "-shm", "-journal"):
        Path(f"{target}{suffix}").unlink(missing_ok=True)
    put_in_place(restored, target)


def _blocks(path: Path, watch: Watch) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while block := file.read(_READ):
            watch.check()
            yield block


def _count_tables(database: sqlite3.Connection) -> int:
    row = database.execute("SELECT count(*) FROM sqlite_schema WHERE type='table' AND name<>?", (CANARY_TABLE,))
    return int(row.fetchone()[0])


def _write_canary(path: str, now_ns: int) -> str:
    """Writes ``now_ns`` (UTC nanoseconds) into the canary table, waiting at most 5 s for a lock.

    Returns the reason why it could not; empty when it did.
    """
    try:
        with closing(sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, timeout=5)) as database, database:
            database.execute(f"CREATE TABLE IF NOT EXISTS {CANARY_TABLE} (id INTEGER PRIMARY KEY, written_ns INTEGER)")
            database.execute(f"INSERT OR REPLACE INTO {CANARY_TABLE} VALUES (1, ?)", (now_ns,))
    except sqlite3.Error as bad:
        return f"{path}: no canary: {bad}"
    return ""


def read_canary(path: str) -> int:
    """The UTC nanoseconds in a database's canary table; 0 without one."""
    try:
        with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)) as database:
            row = database.execute(f"SELECT written_ns FROM {CANARY_TABLE} WHERE id=1").fetchone()
    except sqlite3.Error:
        return 0
    return int(row[0]) if row else 0
