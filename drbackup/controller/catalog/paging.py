"""Long lists from the catalog, a page at a time: complete, and in bounded memory.

A page is one short read of its own. Between two pages there is no cursor and no transaction: a transaction would
keep the database's log from becoming shorter. A row that is there from the first page to the last is listed exactly
once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, or_

from drbackup.controller.catalog.connection import Database

PAGE_ROWS = 500  # rows read at a time

# (column, whether it descends). Together the columns name one row, and their values never change.
Order = Sequence[tuple[Any, bool]]


_T = TypeVar("_T")


def paged(
    database: Database,
    query: Select[Any],
    order: Order,
    read: Callable[[Connection, Sequence[RowMapping]], Iterable[_T]],
) -> Iterator[_T]:
    """Everything that ``query`` finds, in ``order``; ``read`` turns a page's rows into results, in the same view.

    Raises :class:`~drbackup.errors.CatalogUnusable` when a page can't be read.
    """
    query = query.order_by(*(column.desc() if falls else column for column, falls in order)).limit(PAGE_ROWS)
    here = query
    while True:
        with database.read() as connection:
            rows = connection.execute(here).mappings().all()
            found = list(read(connection, rows))
        yield from found
        if len(rows) < PAGE_ROWS:
            return
        here = query.where(_behind(order, [rows[-1][column.name] for column, _falls in order]))


def _behind(order: Order, last: Sequence[Any]) -> ColumnElement[bool]:
    """Whether a row comes after the one with these values. The first column is also compared alone, to use an index."""
    (column, falls), value = order[0], last[0]
    further: ColumnElement[bool] = column < value if falls else column > value
    if len(order) == 1:
        return further
    return and_(column <= value if falls else column >= value, or_(further, _behind(order[1:], last[1:])))
