"""One PostgreSQL snapshot, exported and held open, with every table locked against TRUNCATE, DROP and rewriting.

MVCC does not cover TRUNCATE and rewriting ALTER TABLE: a table emptied after the snapshot looks empty in it, too. So
every table is locked at once. Then its file is compared with the one that the snapshot saw: if it is another, we begin
again. (pg_dump itself has this gap.)
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from drbackup.errors import SourceUnstable, ToolFailed, say
from drbackup_agent.sources.postgres.tables import Table, list_tables
from drbackup_agent.sources.postgres.tools import PsqlSession

_TRIES = 5
_LOCK_BATCH = 500
_LOCK_SECONDS = 60
_GONE = re.compile(r'(relation|schema) "[^"]*" does not exist')  # dropped between the snapshot and our lock
_POSITION = """SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
ELSE pg_catalog.pg_current_wal_lsn() END"""
_REWRITTEN = """SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
AND pg_catalog.pg_relation_filenode(c.oid) IS DISTINCT FROM c.relfilenode"""


class Snapshot(msgspec.Struct, frozen=True):
    """A held snapshot. It is valid as long as its session is open."""

    session: PsqlSession
    name: str  # as PostgreSQL exported it
    taken_ns: int  # UTC nanoseconds by this host's clock, not later than the snapshot
    position: str  # in the write-ahead log (LSN)
    standby: bool  # whether the server is a standby
    tables: tuple[Table, ...]  # all locked


def hold_snapshot(open_session: Callable[[], PsqlSession], server: int, clock_ns: Callable[[], int]) -> Snapshot:
    """A new snapshot with all its tables locked. Its session is the caller's to close.

    ``server``: its version number as PostgreSQL counts (150018). Raises :class:`SourceUnstable` when tables were
    rewritten or dropped during each of five attempts, and :class:`ToolFailed`.
    """
    reason = ""
    for _ in range(_TRIES):
        session = open_session()
        try:
            snapshot = _take(session, server, clock_ns)
            changed = session.rows(_REWRITTEN)
        except ToolFailed as failed:
            session.close()
            if not _GONE.search(failed.message):
                raise
            reason = failed.message
            continue
        except BaseException:
            session.close()
            raise
        if not changed:
            return snapshot
        session.close()
        reason = f"{changed[0][0]} was rewritten or truncated while the snapshot was taken"
    raise SourceUnstable(say("no steady snapshot in {tries} attempts: {reason}", tries=_TRIES, reason=reason))


def join_snapshot(session: PsqlSession, name: str) -> None:
    """The session is in a read-only transaction that sees the held snapshot of that name."""
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;")
    session.execute(f"SET TRANSACTION SNAPSHOT '{name}';")


def _take(session: PsqlSession, server: int, clock_ns: Callable[[], int]) -> Snapshot:
    taken_ns = clock_ns()
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;")
    name = session.value("SELECT pg_catalog.pg_export_snapshot()")
    position = session.value(_POSITION)
    standby = session.value("SELECT pg_catalog.pg_is_in_recovery()") == "t"
    tables = list_tables(session, server, standby=standby)
    session.execute(f"SET lock_timeout = '{_LOCK_SECONDS}s';")
    for start in range(0, len(tables), _LOCK_BATCH):
        names = ", ".join(f"ONLY {table.qualified}" for table in tables[start : start + _LOCK_BATCH])
        session.execute(f"LOCK TABLE {names} IN ACCESS SHARE MODE;")
    session.execute("SET lock_timeout = 0;")
    return Snapshot(session, name, taken_ns, position, standby, tuple(tables))
