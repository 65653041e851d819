"""What the controller says about a PostgreSQL database."""

from __future__ import annotations

import msgspec


class PostgresSpec(msgspec.Struct, frozen=True, tag="postgres"):
    """One PostgreSQL database, copied logically. Empty fields take the client library's defaults."""

    database: str
    host: str = ""  # a name, an address or a socket folder
    port: int = 0  # 0: the default
    user: str = ""
    password_file: str = ""  # a pgpass file on the agent's host
    jobs: int = 2  # tables at once
    tools: str = ""  # folder of psql, pg_dump and pg_dumpall; empty: the newest found
    globals: bool = True  # whether roles are copied and restored, too
    canary: bool = False  # whether a canary is written into the database
