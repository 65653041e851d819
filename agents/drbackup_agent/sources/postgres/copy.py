"""Copying tables: several at once, each worker with its own session of the same snapshot, the largest table first."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self

import msgspec

from drbackup.errors import Interrupted
from drbackup.vault.write.writer import Content, PointWriter
from drbackup_agent.sources.base import Watch
from drbackup_agent.sources.postgres.snapshot import Snapshot, join_snapshot
from drbackup_agent.sources.postgres.tables import RowCounter, Table
from drbackup_agent.sources.postgres.tools import PsqlSession


class Copied(msgspec.Struct, frozen=True):
    """One table's stream in the vault."""

    content: Content
    rows: int
    of_extension: bool  # the table belongs to an extension, so a restore can't compare its rows


class TableCopies:
    """The copies of all tables, which run from the start. Those that still run at the ``with`` block's end stop."""

    def __init__(
        self,
        open_session: Callable[[str], PsqlSession],
        snapshot: Snapshot,
        writer: PointWriter,
        watch: Watch,
        jobs: int,
    ) -> None:
        self._open_session = open_session
        self._snapshot = snapshot
        self._writer = writer
        self._watch = watch
        self._stop = threading.Event()
        self._todo = deque(sorted(snapshot.tables, key=lambda table: table.size, reverse=True))
        self._done: dict[bytes, Copied] = {}
        count = max(1, min(jobs, len(snapshot.tables)))
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="table")
        self._workers: list[Future[None]] = [self._pool.submit(self._work) for _ in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._pool.shutdown(wait=True)

    def result(self) -> dict[bytes, Copied]:
        """Tree path → copy of every table, once all are copied. Raises the error of the first worker that failed."""
        done, _ = wait(self._workers, return_when=FIRST_EXCEPTION)
        for worker in done:
            if (error := worker.exception()) is not None:
                self._stop.set()
                raise error
        return self._done

    def _work(self) -> None:
        if not self._todo:
            return
        with self._open_session("tables") as session:
            what = session.label.removesuffix("tables")
            join_snapshot(session, self._snapshot.name)
            while True:
                try:
                    table = self._todo.popleft()
                except IndexError:
                    return
                session.label = f"{what}table {table.shown}"
                self._one(session, table)

    def _one(self, session: PsqlSession, table: Table) -> None:
        counter = RowCounter(table.header)
        content = self._writer.stream(self._watched(counter.stream(session.copy_out(table.reading))))
        self._done[table.path] = Copied(content, counter.rows, table.of_extension)

    def _watched(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            if self._stop.is_set():
                raise Interrupted("another part of the copy failed")
            self._watch.check()
            yield block


def copy_tables(
    open_session: Callable[[str], PsqlSession], snapshot: Snapshot, writer: PointWriter, watch: Watch, jobs: int
) -> TableCopies:
    """The copies of every table of the snapshot, by up to ``jobs`` sessions at once. They run already."""
    return TableCopies(open_session, snapshot, writer, watch, jobs)
