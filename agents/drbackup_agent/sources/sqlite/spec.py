"""What the controller says about a SQLite database."""

from __future__ import annotations

import msgspec


class SqliteSpec(msgspec.Struct, frozen=True, tag="sqlite"):
    """One SQLite database file, copied by the online backup API."""

    path: str
    canary: bool = False
