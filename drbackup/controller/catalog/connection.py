"""The catalog's database: SQLite in WAL mode with full sync by default, any other URL as it is.

Reads run in a deferred transaction. Writes begin with ``BEGIN IMMEDIATE``. A deferred transaction that reads first and
writes later can fail, because its snapshot is old by then; waiting does not help it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DatabaseError

from drbackup.errors import CatalogUnusable, say

BUSY_SECONDS = 30
_WRITES = "drbackup_writes"


def make_engine(url: str) -> Engine:
    """An engine for ``url``; for SQLite with the durability that the catalog promises."""
    busy = {"timeout": BUSY_SECONDS} if url.startswith("sqlite") else {}
    # Every thread of every run may hold one for a moment; waiting for the pool would only hide waiting for the disk.
    engine = create_engine(url, connect_args=busy, pool_size=8, max_overflow=-1)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver's own BEGIN is late and never IMMEDIATE; ours is explicit
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")  # NORMAL may lose the last steps at a power cut
        cursor.execute("PRAGMA foreign_keys=ON")
    finally:
        cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


class Database:
    """One engine with two ways in: :meth:`read` and :meth:`write`. Safe to use from any thread."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = make_engine(url)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view of the catalog, until the block is left. Raises :class:`CatalogUnusable`."""
        with _translated(self.url), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One durable transaction: committed and synced to disk when the block is left.

        Raises :class:`CatalogUnusable`; then nothing of the block was kept.
        """
        with _translated(self.url), self.engine.connect() as bare:
            connection = bare.execution_options(**{_WRITES: True})
            with connection.begin():
                yield connection

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except DatabaseError as trouble:
        place = make_url(url)
        where = place.database if place.drivername.startswith("sqlite") else place.render_as_string(hide_password=True)
        raise CatalogUnusable(
            say("the catalog's database: {why}", why=trouble.orig or trouble), where=where
        ) from trouble
