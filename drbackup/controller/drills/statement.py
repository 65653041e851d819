"""What a drill's evidence says, in the clear: the JSON document whose SHA-256 the signed object carries.

The document is the truth about a drill; the catalog's row and the HTML page are made from it. It holds counts, digests,
times and names of systems, sources and tables; never a row or a file of the restored data. Its fields only ever grow:
``docs/evidence-format.md`` describes them. Seconds are floating, instants ISO 8601 in UTC.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from drbackup.errors import ObjectCorrupt, say
from drbackup.wire.decode_errors import UNREADABLE

DRILL_FORMAT = "drbackup-drill/1"


class PointUsed(msgspec.Struct, frozen=True, kw_only=True):
    """One recovery point of the drill and what became of it."""

    id: str
    name: str
    source: str
    kind: str
    domain: str
    store: str
    pinned_at: datetime
    committed_at: datetime
    newest: bool = True
    canary_at: datetime | None = None
    canary_noted_at: datetime | None = None
    entries: int = 0
    files: int = 0
    rows: int = 0
    bytes: int = 0
    restored_files: int = 0
    restored_bytes: int = 0
    failure: str = ""
    notes: tuple[str, ...] = ()


class PhaseSpan(msgspec.Struct, frozen=True):
    """One phase, in seconds from the declaration."""

    source: str
    phase: str
    begin: float
    end: float


class CheckOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """One check as asked, measured and judged."""

    number: int
    kind: str
    source: str
    other: str = ""
    query: str = ""
    expected: str = ""
    seen: str = ""
    compared: int = 0
    wrong: tuple[str, ...] = ()
    passed: bool = False
    reason: str = ""


class StatedRule(msgspec.Struct, frozen=True):
    """One broken rule; ``rule`` is a value of :class:`drbackup.model.verdict.Rule`."""

    rule: str
    subject: str = ""
    seen: str = ""
    promised: str = ""
    condition: bool = False


class DrillStatement(msgspec.Struct, frozen=True, kw_only=True):
    """One drill, whole."""

    id: str
    kind: str  # drill, negative-drill
    scenario: str
    city: str
    system: str
    title: str
    department: str
    level: int
    time_zone: str
    planned_at: datetime
    declared_at: datetime
    ended_at: datetime
    verdict: str
    promised_rto: float
    promised_rpo: float
    measured_rto: float | None
    measured_rpo: float | None
    selection: str
    agent: str
    host: dict[str, str]
    points: tuple[PointUsed, ...]
    phases: tuple[PhaseSpan, ...]
    checks: tuple[CheckOutcome, ...]
    findings: tuple[StatedRule, ...]
    wiped: bool
    wipe_proof: str
    attribution: str = ""
    software: str = ""
    format: str = DRILL_FORMAT


def encode(statement: DrillStatement) -> bytes:
    """The document's bytes: sorted keys, two spaces of indent, UTF-8, a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(statement, order="sorted"), indent=2) + b"\n"


def decode(data: bytes, what: str) -> DrillStatement:
    """Raises :class:`ObjectCorrupt` naming ``what``."""
    try:
        return msgspec.json.decode(data, type=DrillStatement)
    except UNREADABLE as bad:
        raise ObjectCorrupt(say("{what}: is no drill's evidence: {why}", what=what, why=bad), where=what) from bad
