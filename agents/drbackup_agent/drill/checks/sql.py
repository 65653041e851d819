"""The check ``sql``: one read-only query with a time limit, which must give one row of one column."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from drbackup.wire.messages import Measured
from drbackup.wire.specs import CheckSpec
from drbackup_agent.drill.checks.base import Copies
from drbackup_agent.sources.restored import Refuted

_NUMBER = re.compile(r"-?\d{1,30}(\.\d{1,30})?")


def measure_sql(check: CheckSpec, copies: Copies) -> Measured:
    """The query's value itself where it is a number or true or false, else its digest.

    Raises :class:`Refuted` unless the query gives exactly one row of one column.
    """
    rows = list(_limited(copies[check.source].query(check.query), 2))
    if len(rows) != 1:
        raise Refuted("the query gave no row" if not rows else "the query gave more than one row")
    return Measured(check.number, value=figure(rows[0]), compared=1)


def figure(cell: bytes) -> str:
    """A number as it is, ``true`` or ``false``, and anything else as its SHA-256: a text may name a person."""
    text = cell.decode("utf-8", "surrogateescape").strip()
    if _NUMBER.fullmatch(text):
        return text
    if text.lower() in {"t", "true", "f", "false"}:
        return "true" if text.lower().startswith("t") else "false"
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _limited(rows: Iterator[bytes], most: int) -> Iterator[bytes]:
    for _, row in zip(range(most), rows, strict=False):
        yield row
