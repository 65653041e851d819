"""What the controller says about a SQLite database."""

from __future__ import annotations

import msgspec


class SqliteSpec(msgspec.Struct, frozen=True, tag="sqlite"):
    """One SQLite database file, copied by SQLite's online backup API."""

    path: str  # absolute
    canary: bool = False  # whether a canary is written into the database
