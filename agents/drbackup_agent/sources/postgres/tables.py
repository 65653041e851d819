"""Tables as streams: which tables there are, how one is read, and how a restored one is counted again.

A table's stream is a script that restores its rows with plain psql: settings, one ``COPY … FROM stdin`` line, the rows,
the end mark. Its digest covers all of it. Reading the restored table with the stored line gives the same bytes, because
COPY writes rows in the order in which they were loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import msgspec
from blake3 import blake3

from drbackup.errors import RestoreMismatch, say
from drbackup.system.console import one_line
from drbackup.vault.read.reader import PointReader
from drbackup.vault.tree import Entry, EntryKind
from drbackup_agent.sources.postgres.tools import DatabaseAddress, PostgresTools, PsqlSession, quoted

TABLES = b"tables"
_END = b"\\.\n"
_FROM = b" FROM stdin;\n"
_NAME = re.compile(rb'COPY ((?:U&)?"(?:[^"]|"")+"\.(?:U&)?"(?:[^"]|"")+")', re.DOTALL)
_PROLOGUE = (
    b"SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; SET DateStyle = 'ISO, YMD'; "
    b"SET IntervalStyle = 'postgres'; SET lc_monetary = 'C'; SET xmloption = content; SET row_security = off; "
    b"SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; "
    b"SET client_min_messages = warning; SET search_path = '';\n"
)

# Ordinary tables whose rows pg_dump would copy, each partition and inheritance child as a table of its own. Of an
# extension's tables only those that the extension marks as holding the user's rows, and only those rows.
_LIST = """
SELECT c.oid, n.nspname, c.relname, coalesce(e.condition, ''), pg_catalog.pg_table_size(c.oid),
  coalesce((SELECT pg_catalog.json_agg(a.attname ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped {generated})::text, '[]'),
  e.extension IS NOT NULL
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN (SELECT x.oid AS extension, u.relation, u.condition FROM pg_catalog.pg_extension x,
  LATERAL ROWS FROM (pg_catalog.unnest(x.extconfig), pg_catalog.unnest(x.extcondition)) AS u(relation, condition)) e
  ON e.relation = c.oid
WHERE c.relkind = 'r' AND c.relpersistence <> 't' {logged}
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND (e.extension IS NOT NULL OR NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.objsubid = 0
      AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'))
ORDER BY 2, 3
"""


class Table(msgspec.Struct, frozen=True):
    """One table to copy."""

    oid: int
    schema: str
    name: str
    columns: tuple[str, ...]  # without dropped and generated ones
    condition: str  # WHERE clause for the user's rows in an extension's table; empty: all rows
    size: int  # bytes on disk
    of_extension: bool

    @property
    def shown(self) -> str:
        """Its name for messages, with its schema."""
        return f"{self.schema}.{self.name}"

    @property
    def qualified(self) -> str:
        """Its quoted name for SQL, with its schema."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    @property
    def path(self) -> bytes:
        """Its path in the tree."""
        return TABLES + b"/" + file_name(self.schema, self.name)

    @property
    def header(self) -> bytes:
        """The ``COPY … FROM stdin`` line that loads its rows, with the newline."""
        return f"COPY {self.qualified}{self._columns}".encode() + _FROM

    @property
    def reading(self) -> str:
        """The ``COPY … TO STDOUT`` statement that reads its rows."""
        if not self.of_extension:
            return f"COPY {self.qualified}{self._columns} TO STDOUT"
        names = ", ".join(quoted(column) for column in self.columns)
        return f"COPY (SELECT {names} FROM ONLY {self.qualified} {self.condition}) TO STDOUT"

    @property
    def _columns(self) -> str:
        # Without columns (or with generated ones only) COPY wants no list at all.
        return f" ({', '.join(quoted(column) for column in self.columns)})" if self.columns else ""


def list_tables(session: PsqlSession, server: int, *, standby: bool) -> list[Table]:
    """Every table whose rows belong to the database, as the session's transaction sees it.

    ``server``: its version number as PostgreSQL counts (150018). On a standby unlogged tables have no rows and can't be
    read: they are left out.
    """
    logged = "AND c.relpersistence <> 'u'" if standby else ""
    generated = "AND a.attgenerated = ''" if server >= 120000 else ""
    return [
        Table(
            oid=int(row[0] or 0),
            schema=row[1] or "",
            name=row[2] or "",
            columns=tuple(json.loads(row[5] or "[]")),
            condition=row[3] or "",
            size=int(row[4] or 0),
            of_extension=row[6] == "t",
        )
        for row in session.rows(_LIST.format(generated=generated, logged=logged))
    ]


def file_name(schema: str, name: str) -> bytes:
    """The file's name ``schema.table.copy``, different for every table.

    What is no letter, digit, ``_`` or ``-`` is %-escaped. A name too long for a folder is cut and ends in a digest; the
    script inside has the full name.
    """
    plain = f"{_escaped(schema)}.{_escaped(name)}".encode()
    if len(plain) > 240:
        plain = plain[:200] + b"%" + blake3(plain).hexdigest(length=8).encode()
    return plain + b".copy"


def _escaped(name: str) -> str:
    return "".join(
        each if each.isalnum() or each in "_-" else "".join(f"%{byte:02X}" for byte in each.encode()) for each in name
    )


class RowCounter:
    """The maker of a table's stream from a COPY's output, which counts the rows."""

    def __init__(self, header: bytes) -> None:
        self.rows = 0  # of what the stream has given so far
        self._header = header

    def stream(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """The whole script, in blocks. COPY's text has exactly one newline per row: those in values are escaped."""
        yield _PROLOGUE + self._header
        for block in blocks:
            self.rows += block.count(b"\n")
            yield block
        yield _END


class TableCount(msgspec.Struct, frozen=True):
    """A restored table compared with the tree. Digests are BLAKE3 of the table's stream."""

    name: str  # for messages
    path: bytes  # in the tree
    rows: int  # of the restored table
    digest: bytes  # of the restored table
    wanted_rows: int  # in the tree
    wanted_digest: bytes  # in the tree

    @property
    def matches(self) -> bool:
        """Whether rows and digest are the tree's."""
        return (self.rows, self.digest) == (self.wanted_rows, self.wanted_digest)


def tables_counted(
    reader: PointReader, tools: PostgresTools, connection: DatabaseAddress, *, stall_seconds: float = 0
) -> Iterator[TableCount]:
    """The count of every restored table, in the tree's order. Every table is read again for it.

    An extension's tables are left out (``rows`` −1 in the tree): the extension itself may have added rows. Raises
    :class:`~drbackup.errors.ToolFailed` and :class:`RestoreMismatch`.
    """
    with PsqlSession(tools, connection, label="count", stall_seconds=stall_seconds) as session:
        for entry in reader.entries(TABLES):
            if entry.kind == EntryKind.FILE and entry.rows >= 0:
                yield count_table(session, entry, stored_header(reader, entry))


def count_table(session: PsqlSession, entry: Entry, header: bytes) -> TableCount:
    """The count of one restored table, which is read again. ``header`` is its stored COPY line."""
    statement = header[: -len(_FROM)].decode() + " TO STDOUT"
    session.label = f"count {one_line(entry.path)}"
    counter = RowCounter(header)
    hasher = blake3()
    for block in counter.stream(session.copy_out(statement)):
        hasher.update(block)
    name = one_line(entry.path).removeprefix("tables/").removesuffix(".copy")
    return TableCount(name, entry.path, counter.rows, hasher.digest(), entry.rows, entry.digest)


def stored_header(reader: PointReader, entry: Entry) -> bytes:
    """The COPY line of a stored table. Raises :class:`RestoreMismatch` when its stream does not begin with one."""
    begin = b""
    for block in reader.content(entry):
        begin += block
        if begin.count(b"\n", 0, 1 << 20) >= 2:
            break
    return header_of(begin, entry)


def loaded_table(header: bytes) -> bytes:
    """The quoted name, with its schema, of the table that a COPY line loads. Raises :class:`RestoreMismatch`."""
    named = _NAME.match(header)
    if named is None:
        raise RestoreMismatch(say("no table is named in {header}", header=repr(header[:200])))
    return named[1]


def header_of(begin: bytes, entry: Entry) -> bytes:
    """The COPY line in ``begin``, the first bytes of a table's stream. Raises :class:`RestoreMismatch` without one."""
    prologue, _, rest = begin.partition(b"\n")
    header = rest[: rest.find(b"\n") + 1]
    if prologue + b"\n" != _PROLOGUE or not header.startswith(b"COPY ") or not header.endswith(_FROM):
        raise RestoreMismatch(
            say("{path} does not begin as a table's stream does", path=one_line(entry.path)), where=one_line(entry.path)
        )
    return header
