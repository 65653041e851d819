"""Counting instead of timing: a store that counts what it is asked, a catalog that counts the steps of its SQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event

from drbackup.controller.catalog import Catalog
from drbackup.stores.base import Stat
from drbackup.stores.erase import Erased
from tests.support.doubles.memory_store import MemoryStore

_PAGE_OF_A_LISTING = 1000  # objects, as S3 gives them
_EVERY = 10  # steps of SQLite's machine between two counts


@dataclass
class Tally:
    """What one piece of work took. ``steps``: of SQLite's virtual machine, in tens."""

    requests: int = 0
    written: int = 0
    read: int = 0
    steps: int = 0

    def since(self, before: Tally) -> Tally:
        return Tally(
            self.requests - before.requests,
            self.written - before.written,
            self.read - before.read,
            self.steps - before.steps,
        )

    def copy(self) -> Tally:
        return Tally(self.requests, self.written, self.read, self.steps)


class CountingStore(MemoryStore):
    """A store in memory that counts requests as an S3 bucket would, and that can be collected."""

    def __init__(self, name: str, tally: Tally) -> None:
        super().__init__(name)
        self.tally = tally

    def put(self, name: str, data: bytes | memoryview) -> None:
        self.tally.requests += 1
        self.tally.written += len(data)
        super().put(name, data)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = super().get(name, offset, length)
        self.tally.requests += 1
        self.tally.read += len(data)
        return data

    def stat(self, name: str) -> Stat | None:
        self.tally.requests += 1
        return super().stat(name)

    def list(self, prefix: str) -> Iterator[Stat]:
        found = list(super().list(prefix))
        self.tally.requests += 1 + max(0, len(found) - 1) // _PAGE_OF_A_LISTING
        return iter(found)

    def erase(self, name: str) -> Erased:
        """See :class:`drbackup.stores.erase.Eraser`."""
        self.tally.requests += 1
        self.objects.pop(name, None)
        return Erased(name, gone=True)

    @property
    def size(self) -> int:
        """Bytes of everything stored."""
        return sum(map(len, self.objects.values()))


@dataclass
class CountedCatalog:
    """Listens to every connection of a catalog that opens after this. Durability is left out: it costs time, and what
    is counted here is the same without."""

    catalog: Catalog
    tally: Tally
    _seen: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        engine = self.catalog.database.engine
        engine.dispose()
        event.listen(engine, "connect", self._prepare)

    def _prepare(self, connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")
        connection.set_progress_handler(self._step, _EVERY)

    def _step(self) -> int:
        self.tally.steps += 1
        return 0

    def rows(self, table: str) -> int:
        with self.catalog.database.read() as connection:
            return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())

    def bytes(self) -> int:
        """Bytes of the database that are in use; freed pages are used again."""
        with self.catalog.database.read() as connection:
            pages, free, size = (
                int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
                for name in ("page_count", "freelist_count", "page_size")
            )
        return (pages - free) * size
