"""A restored PostgreSQL database in the drill's own server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from drbackup.errors import ToolFailed
from drbackup.vault.read.reader import PointReader
from drbackup_agent.sources.pipeline import stream
from drbackup_agent.sources.postgres.canary import canary_ns
from drbackup_agent.sources.postgres.instance import SUPERUSER, PrivatePostgres, client_environment
from drbackup_agent.sources.postgres.tables import tables_counted
from drbackup_agent.sources.postgres.tools import DatabaseAddress, PostgresTools, unescaped
from drbackup_agent.sources.restored import QUERY_SECONDS, Counted, Refuted


@dataclass(slots=True)
class PostgresCopy:
    """A restored database in the drill's own server."""

    source: str  # its name in the drill
    reader: PointReader
    instance: PrivatePostgres
    database: str  # its name on the server
    folder: Path | None = None  # it has no files of its own

    def query(self, text: str) -> Iterator[bytes]:
        """Each row's only column as text, empty for NULL. Raises :class:`Refuted` for more columns or a failure.

        The query runs inside COPY: so it can be one SELECT and nothing else, and its rows come one by one.
        """
        environment = client_environment(self.instance, read_only=True, timeout_seconds=QUERY_SECONDS)
        # VERBOSITY=sqlstate: an error's own words may quote a row ("invalid input syntax for integer: …").
        words = ["-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=sqlstate", "-v", "SHOW_CONTEXT=never"]
        select = text.strip().rstrip(";").rstrip()
        argv = [str(self.instance.tools / "psql"), "-X", "-q", "-w", *words, "-d", self.database]
        blocks = stream(
            [*argv, "-c", f"COPY ({select}\n) TO STDOUT"],
            label="query",
            environment=environment,
            stall_seconds=QUERY_SECONDS + 30,
        )
        try:
            for line in _lines(blocks):
                if b"\t" in line:
                    raise Refuted("the query gives more than one column")
                yield unescaped(line) or b""
        except ToolFailed as failed:
            raise Refuted(f"the query failed: {_sqlstate(failed.message)}") from failed

    def counted(self) -> Iterator[Counted]:
        tools = PostgresTools.find(str(self.instance.tools))
        for each in tables_counted(self.reader, tools, self._connection, stall_seconds=QUERY_SECONDS):
            yield Counted(each.name, each.rows, each.wanted_rows, each.digest, each.wanted_digest)

    def canary_ns(self) -> int:
        return canary_ns(PostgresTools.find(str(self.instance.tools)), self._connection)

    @property
    def _connection(self) -> DatabaseAddress:
        return DatabaseAddress(
            self.database, str(self.instance.socket), self.instance.port, SUPERUSER, str(self.instance.no_passwords)
        )


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _sqlstate(message: str) -> str:
    found = re.search(r"\b(?:ERROR|FATAL):\s+([0-9A-Z]{5})\b", message)
    return f"SQLSTATE {found[1]}" if found else "psql ended early"
