"""A PostgreSQL database in a policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Self

from pydantic import Field

from drbackup.model.quantities import Whole, YesNo
from drbackup.model.sources.base import SourceSettings
from drbackup.model.strict import NonEmpty
from drbackup.model.words import Words

_BY_HAND = (
    "psql -X -d postgres -f {folder}/globals.sql        # roles; those that exist already may fail",
    "psql -X -v ON_ERROR_STOP=1 -d postgres -v database={database} -f {folder}/create-database.sql",
    "psql -X -v ON_ERROR_STOP=1 -d {database} -f {folder}/pre-data.sql",
    'for t in {folder}/tables/*.copy; do psql -X -v ON_ERROR_STOP=1 -d {database} -f "$t" || break; done',
    "psql -X -v ON_ERROR_STOP=1 -d {database} -f {folder}/rest-of-data.sql",
    "psql -X -v ON_ERROR_STOP=1 -d {database} -f {folder}/post-data.sql",
    "psql -X -v ON_ERROR_STOP=1 -d {database} -v database={database} -f {folder}/settings.sql",
)


class PostgresPolicy(SourceSettings):
    """One PostgreSQL database, dumped logically from one exported snapshot."""

    kind: ClassVar[str] = "postgres"
    is_database: ClassVar[bool] = True
    whole_check: ClassVar[str] = "counts"
    host_facts: ClassVar[Mapping[str, Words]] = {
        "postgres": Words("临时数据库", "throw-away database"),
        "account": Words("数据库账户", "database account"),
        "isolation": Words("网络隔离", "network isolation"),
    }

    database: NonEmpty = Field(description="The database's name.")
    host: str = Field(default="", description="Host or socket folder; empty: the local socket.")
    port: Whole = Field(default=0, ge=0, le=65535, description="0: the client's default.")
    user: str = Field(default="", description="Role to connect as; empty: the agent's account.")
    password_file: str = Field(default="", description="A pgpass file on the agent's host.")
    jobs: Whole = Field(default=2, ge=1, le=64, description="Tables dumped at the same time.")
    tools: str = Field(default="", description="Folder of psql and pg_dump; empty: the newest found.")
    globals: YesNo = Field(default=True, description="Roles and tablespaces too.")

    def lives(self) -> str:
        return f"database {self.database} at {self.host or 'the local socket'}"

    def by_hand(self, folder: str) -> Iterator[str]:
        for line in _BY_HAND:
            yield line.format(folder=folder, database=self.database)

    def at_database(self, name: str, path: str) -> Self | None:
        del path
        return self.model_copy(update={"database": name})
