"""What the controller says about a PostgreSQL database."""

from __future__ import annotations

import msgspec


class PostgresSpec(msgspec.Struct, frozen=True, tag="postgres"):
    """One PostgreSQL database, dumped logically.

    ``host`` may be a socket folder. ``password_file`` is a pgpass file on the agent's host; ``environment`` goes to the
    client programs. ``tools`` is the folder of ``psql`` and ``pg_dump``; empty: the newest found.
    """

    database: str
    host: str = ""
    port: int = 0
    user: str = ""
    password_file: str = ""
    jobs: int = 2
    tools: str = ""
    globals: bool = True
    canary: bool = False
