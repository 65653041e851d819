"""Sessions: one conversation with one agent for one run. While one is open, its domain is not collected."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import insert, select, update

from drbackup.controller.catalog.connection import Database
from drbackup.controller.catalog.run_rows import ACTIVE
from drbackup.controller.catalog.tables import runs, sessions
from drbackup.system.instants import from_ns, from_ns_or_none, to_ns


class SessionRow(msgspec.Struct, frozen=True):
    """One session. Instants are UTC."""

    id: str
    run: str  # the run's id
    agent: str
    store: str  # where its packs go; empty: none
    opened_at: datetime
    closed_at: datetime | None  # None: open
    outcome: str  # "ok" or an error's code; empty while open


class Sessions:
    """All sessions of the catalog."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, session: SessionRow) -> None:
        """A durable row of a session that has not started yet."""
        with self._database.write() as connection:
            connection.execute(
                insert(sessions).values(
                    id=session.id,
                    run=session.run,
                    agent=session.agent,
                    store=session.store,
                    opened_ns=to_ns(session.opened_at),
                )
            )

    def close(self, session: str, outcome: str, *, now: datetime) -> None:
        """The end of a session, durable. One that was closed before stays as it is."""
        with self._database.write() as connection:
            ended = update(sessions).where(sessions.c.id == session, sessions.c.closed_ns == 0)
            connection.execute(ended.values(closed_ns=to_ns(now), outcome=outcome))

    def busy(self, *, since: datetime) -> dict[str, str]:
        """Agent → a session of it that may still lead to a commit: it is open, or its run is active.

        Sessions that were opened before ``since`` are left out: such an old one commits nothing any more.
        """
        alive = select(runs.c.id).where(runs.c.state.in_(ACTIVE))
        under_way = (sessions.c.closed_ns == 0) | sessions.c.run.in_(alive)
        query = select(sessions.c.agent, sessions.c.id).where(under_way, sessions.c.opened_ns > to_ns(since))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(sessions.c.opened_ns)).all()
        return {row.agent: row.id for row in rows}

    def list(self, *, run: str = "", open_only: bool = False) -> list[SessionRow]:
        """All sessions, newest first; ``run``: of one run, ``open_only``: those that are not closed."""
        query = select(sessions).order_by(sessions.c.opened_ns.desc())
        if run:
            query = query.where(sessions.c.run == run)
        if open_only:
            query = query.where(sessions.c.closed_ns == 0)
        with self._database.read() as connection:
            return [
                SessionRow(
                    row["id"],
                    row["run"],
                    row["agent"],
                    row["store"],
                    from_ns(row["opened_ns"]),
                    from_ns_or_none(row["closed_ns"]),
                    row["outcome"],
                )
                for row in connection.execute(query).mappings()
            ]
