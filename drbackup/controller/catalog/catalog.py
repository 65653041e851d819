"""The catalog: one database, one small class for each subject.

Invariant: what a method wrote is durable when it returns. What the catalog loses can be rebuilt from the stores,
except what no store has: runs that did not commit, holds, and which copies were read back.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from drbackup.controller.catalog.connection import Database
from drbackup.controller.catalog.drills import Drills
from drbackup.controller.catalog.holder import is_gone, is_here
from drbackup.controller.catalog.lifecycle import Lifecycle
from drbackup.controller.catalog.migrating import migrate
from drbackup.controller.catalog.packs import Packs
from drbackup.controller.catalog.points import Points
from drbackup.controller.catalog.recoveries import Recoveries
from drbackup.controller.catalog.runs import Runs
from drbackup.controller.catalog.schedules import Schedules
from drbackup.controller.catalog.scrub import Scrubs
from drbackup.controller.catalog.sessions import Sessions


class Catalog:
    """An open catalog. Every part is safe to use from any thread. Several processes may have it open."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.runs = Runs(database, is_gone, is_here)
        self.points = Points(database)
        self.packs = Packs(database)
        self.lifecycle = Lifecycle(database)
        self.scrubs = Scrubs(database)
        self.sessions = Sessions(database)
        self.schedules = Schedules(database)
        self.drills = Drills(database)
        self.recoveries = Recoveries(database)

    @classmethod
    def open(cls, path: Path) -> Catalog:
        """The catalog in one SQLite file, made or migrated as needed.

        Raises :class:`~drbackup.errors.CatalogUnusable` for a newer catalog or a broken database.
        """
        return cls.open_url(f"sqlite:///{path}")

    @classmethod
    def open_url(cls, url: str) -> Catalog:
        """The catalog at an SQLAlchemy URL, made or migrated as needed. Raises as :meth:`open` does."""
        database = Database(url)
        migrate(database)
        return cls(database)

    def close(self) -> None:
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
