"""The canary of a database: one row whose age in a restored copy is the measured RPO."""

from __future__ import annotations

from collections.abc import Callable

from drbackup.errors import ToolFailed
from drbackup.system.instants import from_ns
from drbackup_agent.sources.postgres.tables import TABLES, file_name
from drbackup_agent.sources.postgres.tools import DatabaseAddress, PostgresTools, PsqlSession

CANARY_PATH = TABLES + b"/" + file_name("drbackup", "canary")
_EXISTS = "SELECT pg_catalog.to_regclass('drbackup.canary') IS NOT NULL"
_CREATE = """CREATE SCHEMA IF NOT EXISTS drbackup;
CREATE TABLE IF NOT EXISTS drbackup.canary (id integer PRIMARY KEY, written_at timestamptz NOT NULL);"""
_WRITE = """INSERT INTO drbackup.canary VALUES (1, '{when}')
ON CONFLICT (id) DO UPDATE SET written_at = EXCLUDED.written_at;"""
_READ = "SELECT (extract(epoch FROM written_at) * 1000000)::bigint * 1000 FROM drbackup.canary WHERE id = 1"


def write_canary(open_session: Callable[[str], PsqlSession], now_ns: int) -> str:
    """The reason why the canary was not set to ``now_ns`` (UTC nanoseconds, whole microseconds); empty when it was.

    Reasons are a missing right, a standby, or a lock that does not come within 5 s. Without a canary only a measurement
    is lost, not a backup.
    """
    when = from_ns(now_ns).isoformat()
    try:
        with open_session("canary") as session:
            session.execute("SET lock_timeout = '5s';")
            if session.value(_EXISTS) != "t":
                session.execute(_CREATE)
            session.execute(_WRITE.format(when=when))
    except ToolFailed as failed:
        return f"no canary: {failed.message}"
    return ""


def canary_ns(tools: PostgresTools, connection: DatabaseAddress) -> int:
    """The UTC nanoseconds of a (restored) database's canary; 0 without one. Raises :class:`ToolFailed`."""
    with PsqlSession(tools, connection, label="canary", stall_seconds=60) as session:
        if session.value(_EXISTS) != "t":
            return 0
        rows = session.rows(_READ)
    return int(rows[0][0] or 0) if rows else 0
