"""A drill's evidence in the clear: the JSON document whose SHA-256 the signed object carries.

The document is what counts of a drill; the catalog's row and the HTML page are made from it. It has counts, digests,
times, and names of systems, sources and tables. It never has a row or a file of the restored data. Fields are added,
never removed; ``docs/evidence-format.md`` describes them. Seconds are floating, instants ISO 8601 in UTC.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from drbackup.errors import ObjectCorrupt, say
from drbackup.wire.decode_errors import UNREADABLE

DRILL_FORMAT = "drbackup-drill/1"


class PointUsed(msgspec.Struct, frozen=True, kw_only=True):
    """One recovery point of the drill and whether it was restored."""

    id: str
    name: str  # of the record's object
    source: str
    kind: str  # of the source
    domain: str
    store: str  # it was read from; empty: its record was not found
    pinned_at: datetime
    committed_at: datetime
    newest: bool = True  # false: the older point, drawn by lot
    canary_at: datetime | None = None  # the canary in the restored data, on the controller's clock
    canary_noted_at: datetime | None = None  # the canary that the backup noted, on the controller's clock
    entries: int = 0  # in the point, as the next three
    files: int = 0
    rows: int = 0
    bytes: int = 0
    restored_files: int = 0
    restored_bytes: int = 0
    failure: str = ""  # why it was not restored; empty: no failure is known
    notes: tuple[str, ...] = ()  # of the restore


class PhaseSpan(msgspec.Struct, frozen=True):
    """One phase of the drill."""

    source: str  # empty: of the whole drill
    phase: str
    begin: float  # seconds from the declaration
    end: float  # seconds from the declaration


class CheckOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """One check as asked, measured and judged."""

    number: int  # its place in the policy, from 0; higher: the older point's
    kind: str
    source: str
    other: str = ""  # the second source of a check between two
    query: str = ""
    expected: str = ""
    seen: str = ""
    compared: int = 0  # so many values were compared
    wrong: tuple[str, ...] = ()  # up to ten differences: table names, or 12 hex digits of a path's BLAKE3
    passed: bool = False
    reason: str = ""  # why it did not pass


class StatedRule(msgspec.Struct, frozen=True):
    """One broken rule of the verdict."""

    rule: str  # a value of drbackup.model.verdict.Rule
    subject: str = ""  # a source, a check's number or nothing
    seen: str = ""
    promised: str = ""
    condition: bool = False  # true: the drill passes with conditions, it does not fail


class DrillStatement(msgspec.Struct, frozen=True, kw_only=True):
    """The whole document of one drill."""

    id: str
    kind: str  # drill, negative-drill
    scenario: str
    city: str
    system: str
    title: str  # of the system
    department: str
    level: int  # 1 to 6, of GB/T 20988, that the policy aims at
    time_zone: str  # IANA name; the report shows local times in it
    planned_at: datetime
    declared_at: datetime
    ended_at: datetime
    verdict: str  # a value of drbackup.model.verdict.Verdict
    promised_rto: float  # seconds, as the next three
    promised_rpo: float
    measured_rto: float | None  # None: not every newest point was restored
    measured_rpo: float | None
    selection: str  # how points and store were chosen, in both languages
    agent: str  # of the drill host
    host: dict[str, str]  # facts of the drill host
    points: tuple[PointUsed, ...]
    phases: tuple[PhaseSpan, ...]
    checks: tuple[CheckOutcome, ...]
    findings: tuple[StatedRule, ...]
    wiped: bool  # every sandbox, with proof
    wipe_proof: str
    attribution: str = ""  # how overlapping phases were divided
    software: str = ""  # name and version of the program that wrote this
    format: str = DRILL_FORMAT


def encode(statement: DrillStatement) -> bytes:
    """The document's bytes: sorted keys, two spaces of indent, UTF-8, a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(statement, order="sorted"), indent=2) + b"\n"


def decode(data: bytes, what: str) -> DrillStatement:
    """The statement in the document's bytes. Raises :class:`ObjectCorrupt`, which names ``what``."""
    try:
        return msgspec.json.decode(data, type=DrillStatement)
    except UNREADABLE as bad:
        raise ObjectCorrupt(say("{what}: is no drill's evidence: {why}", what=what, why=bad), where=what) from bad
