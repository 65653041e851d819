"""Whether a catalog's file is damaged, or only can't be opened now. Only a damaged one may be moved away."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_damaged(path: Path) -> bool:
    """Whether the file is empty, or SQLite finds its structure broken.

    A file that is locked, newer or unreadable is not damaged.
    """
    if path.stat().st_size == 0:
        return True
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as trouble:
        return getattr(trouble, "sqlite_errorcode", 0) & 0xFF in _BROKEN
    return bool(answer != "ok")
