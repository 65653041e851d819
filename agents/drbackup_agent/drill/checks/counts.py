"""The check ``counts``: rows and digest of each table (or of the database file) compared with the tree."""

from __future__ import annotations

from drbackup.wire.messages import Measured
from drbackup.wire.specs import CheckSpec
from drbackup_agent.drill.checks.base import MOST_WRONG, Copies


def measure_counts(check: CheckSpec, copies: Copies) -> Measured:
    """The numbers of tables and rows in the copy, and the names of up to ten tables that differ."""
    copy = copies[check.source]
    tables = rows = wanted = 0
    wrong: list[str] = []
    for counted in copy.counted():
        tables += 1
        rows, wanted = rows + max(counted.rows, 0), wanted + max(counted.wanted_rows, 0)
        if counted.rows != counted.wanted_rows:
            wrong.append(f"{counted.name}: {counted.rows} rows, not {counted.wanted_rows}")
        elif counted.digest != counted.wanted_digest:
            wrong.append(f"{counted.name}: another digest")
    return Measured(
        check.number,
        value=f"{tables} tables, {rows} rows",
        expected=f"{tables} tables, {wanted} rows",
        compared=tables,
        wrong=tuple(wrong[:MOST_WRONG]),
    )
