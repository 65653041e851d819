"""The catalog's tables, as SQLAlchemy Core sees them. The migrations make them; a test holds both equal.

One convention for time: every ``*_ns`` column is UTC nanoseconds since the epoch, as an integer. Enumerations are text.
Names of packs and chunks are raw 32-byte values.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

#: The newest migration this program knows. A catalog that is ahead of it is refused.
HEAD = "0006"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# --- runs: one row for every execution of anything, kept for ever -------------------------------------------------

runs = Table(
    "runs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("system", String(128), nullable=False),
    Column("source", String(128), nullable=False, server_default=""),
    Column("state", String(16), nullable=False),
    Column("due_ns", BigInteger, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("started_ns", BigInteger, nullable=False, server_default="0"),
    Column("ended_ns", BigInteger, nullable=False, server_default="0"),
    Column("pinned_ns", BigInteger, nullable=False, server_default="0"),
    Column("position", Text, nullable=False, server_default=""),
    Column("holder", String(128), nullable=False, server_default=""),
    Column("lease_ns", BigInteger, nullable=False, server_default="0"),  # the lease holds until then
    Column("fence", Integer, nullable=False, server_default="0"),  # grows with every claim of the run
    Column("host", String(128), nullable=False, server_default=""),
    Column("point", String(64), nullable=False, server_default=""),
    Column("error_code", String(64), nullable=False, server_default=""),
    Column("error_message", Text, nullable=False, server_default=""),
    Column("error_where", Text, nullable=False, server_default=""),
    Column("error_hint", Text, nullable=False, server_default=""),
    Column("content_bytes", BigInteger, nullable=False, server_default="0"),
    Column("stored_bytes", BigInteger, nullable=False, server_default="0"),
    Column("entries", BigInteger, nullable=False, server_default="0"),
    Column("phase", String(32), nullable=False, server_default=""),
    Index("ix_runs_source", "kind", "system", "source", "due_ns"),
    Index("ix_runs_state", "state", "due_ns"),
    # Runs are kept for ever, and every new one asks which of its source are active and what their highest fence is.
    Index("ix_runs_active", "kind", "system", "source", "state"),
    Index("ix_runs_fence", "kind", "system", "source", "fence"),
    # Lists are read a page at a time. With an index a page is found at once, and a month without reading all the years.
    Index("ix_runs_system", "kind", "system", "due_ns"),
    Index("ix_runs_due", "due_ns"),
)

run_steps = Table(
    "run_steps",
    metadata,
    Column("run", ForeignKey("runs.id"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("step", String(32), nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("detail", Text, nullable=False, server_default=""),
)

# --- points: what was committed -----------------------------------------------------------------------------------

points = Table(
    "points",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("system", String(128), nullable=False),
    Column("source", String(128), nullable=False),
    Column("domain", String(128), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("session", String(64), nullable=False),
    Column("pinned_ns", BigInteger, nullable=False),
    Column("committed_ns", BigInteger, nullable=False),
    Column("previous", String(64), nullable=False, server_default=""),
    Column("grouped", String(64), nullable=False, server_default=""),
    Column("entries", BigInteger, nullable=False),
    Column("files", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("new_bytes", BigInteger, nullable=False),
    Column("stored_bytes", BigInteger, nullable=False),
    Column("rung", Integer, nullable=False),
    Column("rung_ns", BigInteger, nullable=False),
    Column("held", Text, nullable=False, server_default=""),
    Column("collected_ns", BigInteger, nullable=False, server_default="0"),  # since then its records are being removed
    Index("ix_points_source", "system", "source", "committed_ns"),
    Index("ix_points_system", "system", "committed_ns"),
    Index("ix_points_committed", "committed_ns"),
    Index("ix_points_pinned", "system", "source", "pinned_ns"),
)

point_copies = Table(
    "point_copies",
    metadata,
    Column("point", ForeignKey("points.id"), primary_key=True),
    Column("store", String(128), primary_key=True),
    Column("committed_ns", BigInteger, nullable=False),
    Column("locked_ns", BigInteger, nullable=False, server_default="0"),  # the store's lock on the record, as of a pack
    # Every object the copy is made of was read back whole since then; 0: one never was; -1: one is damaged.
    Column("read_ns", BigInteger, nullable=False, server_default="0"),
)

# --- packs and chunks: what an agent need not send again ------------------------------------------------------------

domains = Table(
    "domains",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
)

packs = Table(
    "packs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("domain", ForeignKey("domains.id"), nullable=False),
    Column("kind", String(1), nullable=False),
    Column("name", LargeBinary(32), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("session", String(64), nullable=False),
    UniqueConstraint("domain", "kind", "name", name="uq_packs_name"),
)

# Presence of a pack in one store. Forgetting a pack is deleting this row: its chunks then count as missing there.
pack_copies = Table(
    "pack_copies",
    metadata,
    Column("pack", ForeignKey("packs.id"), primary_key=True),
    Column("store", String(128), primary_key=True),
    Column("stored_ns", BigInteger, nullable=False),
    Column("locked_ns", BigInteger, nullable=False, server_default="0"),  # the store's own lock holds until then
    Column("retired_ns", BigInteger, nullable=False, server_default="0"),  # since then nothing new relies on it
    Column("condemned_ns", BigInteger, nullable=False, server_default="0"),  # since then it is to be collected
    Column("scrubbed_ns", BigInteger, nullable=False, server_default="0"),  # last read back whole
    sqlite_with_rowid=False,
)

chunks = Table(
    "chunks",
    metadata,
    Column("domain", Integer, primary_key=True, autoincrement=False),
    Column("chunk", LargeBinary(32), primary_key=True),
    Column("pack", Integer, primary_key=True, autoincrement=False),
    Column("ordinal", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("size", Integer, nullable=False),
    Column("raw", Integer, nullable=False),
    sqlite_with_rowid=False,
)

# --- sessions, schedules --------------------------------------------------------------------------------------------

sessions = Table(
    "sessions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("run", ForeignKey("runs.id"), nullable=False),
    Column("agent", String(128), nullable=False),
    Column("store", String(128), nullable=False, server_default=""),
    Column("opened_ns", BigInteger, nullable=False),
    Column("closed_ns", BigInteger, nullable=False, server_default="0"),
    Column("outcome", String(64), nullable=False, server_default=""),
    Index("ix_sessions_run", "run"),
    Index("ix_sessions_opened", "opened_ns"),
)

schedules = Table(
    "schedules",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("system", String(128), primary_key=True),
    Column("source", String(128), primary_key=True),
    Column("last_due_ns", BigInteger, nullable=False, server_default="0"),
    Column("next_due_ns", BigInteger, nullable=False, server_default="0"),
    Column("fingerprint", String(64), nullable=False, server_default=""),
)

# --- drills, recoveries ---------------------------------------------------------------------------------------------

drills = Table(
    "drills",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("system", String(128), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("planned_ns", BigInteger, nullable=False),
    Column("started_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger, nullable=False, server_default="0"),
    Column("verdict", String(32), nullable=False, server_default=""),
    Column("host", String(128), nullable=False, server_default=""),
    Column("points", Text, nullable=False, server_default="[]"),
    Column("evidence", Text, nullable=False, server_default=""),
    Column("rto_ns", BigInteger),  # NULL: not measured
    Column("rpo_ns", BigInteger),
    Column("findings", Text, nullable=False, server_default="[]"),
    Index("ix_drills_system", "system", "started_ns"),
    Index("ix_drills_started", "started_ns"),
)

recoveries = Table(
    "recoveries",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("plan", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("started_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger, nullable=False, server_default="0"),
)

recovery_steps = Table(
    "recovery_steps",
    metadata,
    Column("recovery", ForeignKey("recoveries.id"), primary_key=True),
    Column("step", String(200), primary_key=True),
    Column("ordinal", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("started_ns", BigInteger, nullable=False, server_default="0"),
    Column("ended_ns", BigInteger, nullable=False, server_default="0"),
    Column("detail", Text, nullable=False, server_default=""),
)
