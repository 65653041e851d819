"""The catalog of the simulation: the real tables and queries on SQLite in memory, copied from schedule to schedule.

Every transaction is a step: before it the caller may be killed and nothing is written, behind it he may be killed and
everything is. Inside one nobody else acts, as SQLite's own lock would have it; so a call to a store inside a
transaction, which would hold that lock for as long as a store takes, fails here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.connection import Database
from drbackup.controller.catalog.runs import Runs
from drbackup.controller.catalog.tables import metadata
from tests.simulation.stage import Stage


class SimDatabase(Database):
    """One connection, one transaction at a time. ``stage``: whose schedule the transactions are steps of."""

    def __init__(self) -> None:
        self.url = "sqlite://"
        self.stage: Stage | None = None
        self._raw = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._engine = create_engine(self.url, creator=lambda: self._raw, poolclass=StaticPool)
        # SQLAlchemy's own BEGIN and COMMIT are left out: a begin and a commit of ours stand around each block.
        self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        metadata.create_all(self._connection)
        self._inside = False
        self.empty = self.save()

    def save(self) -> bytes:
        """The whole database."""
        return self._raw.serialize()

    def load(self, saved: bytes) -> None:
        """Become what was saved."""
        self._raw.deserialize(saved)
        self._raw.execute("PRAGMA foreign_keys=ON")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        if self.stage is not None and not self._inside:
            self.stage.point("reads the catalog", mortal=False)
        with self._alone():
            yield self._connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        if self.stage is not None:
            # Before a collector's write it has read what it is about to act on.
            self.stage.point("writes the catalog", dear=self.stage.actor == "collector")
        with self._alone():
            self._raw.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._raw.execute("ROLLBACK")
                raise
            self._raw.execute("COMMIT")
        if self.stage is not None:
            self.stage.point("wrote the catalog")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        assert not self._inside, "a transaction inside a transaction, or a store asked inside one"
        self._inside = True
        try:
            yield
        finally:
            self._inside = False

    def close(self) -> None:
        pass


def make_catalog(database: SimDatabase) -> Catalog:
    """The real catalog on it. Nobody's holder is ever known to be gone: the lease's end decides."""
    catalog = Catalog(database)
    catalog.runs = Runs(database, lambda _holder: False)
    return catalog
