"""The signed statement of what is collected: which points, and why. It is written before the first record is erased.

It is a piece of evidence like a drill's: chained, signed, in every store, and in clear text in the home. By it, a
rebuild and an auditor know which records were collected and which were lost.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from drbackup.controller.catalog.lifecycle import Leaving
from drbackup.controller.evidence import write_evidence
from drbackup.controller.home.installation import Installation
from drbackup.errors import ObjectCorrupt, StoreUnavailable, say
from drbackup.model.policy import KeepPolicy

SUBJECT = "collected"
COLLECTED_FORMAT = "drbackup-collected/1"


class CollectedPoint(msgspec.Struct, frozen=True):
    """One point that is removed."""

    id: str  # its record's SHA-256, hex
    record: str  # the record's name
    system: str
    source: str
    stores: tuple[str, ...]  # where it is removed
    reason: str  # one line


class CollectedStatement(msgspec.Struct, frozen=True):
    """All points that one collect removes."""

    id: str  # random: any store's owner sees the statement's hash, and must learn nothing from it
    city: str
    at: str  # ISO 8601, UTC
    points: tuple[CollectedPoint, ...]
    format: str = COLLECTED_FORMAT


def state_collected(
    installation: Installation, leaving: Sequence[Leaving], now: datetime, collected: Collection[str]
) -> None:
    """A statement of what is leaving: signed, chained, and durable in every store in ``collected``.

    Raises :class:`StoreUnavailable` unless every one of these stores has it.
    """
    reasons = {name: policy.keep for name, policy in installation.policies.policies.items()}
    points = tuple(
        CollectedPoint(each.id, each.name, each.system, each.source, each.stores, _reason(reasons.get(each.system)))
        for each in leaving
    )
    city = installation.inventory.title
    said = CollectedStatement(secrets.token_hex(16), city, now.astimezone(UTC).isoformat(), points)
    statement = msgspec.json.format(msgspec.json.encode(said, order="sorted"), indent=2)
    written = write_evidence(installation, statement, subject=SUBJECT, when=now)
    missing = sorted(set(written.missing_in) & set(collected))
    if missing:
        raise StoreUnavailable(
            say("the statement of what is collected could not be written to {missing}", missing=", ".join(missing)),
            where=", ".join(missing),
            safe="nothing was removed",
        )


def collected_ids(statements: Mapping[str, bytes]) -> frozenset[str]:
    """The ids of all points that these statements (by their objects' names) name.

    Raises :class:`ObjectCorrupt` for a statement that can't be read.
    """
    found: set[str] = set()
    for name, statement in statements.items():
        try:
            found |= {point.id for point in msgspec.json.decode(statement, type=CollectedStatement).points}
        except msgspec.DecodeError as bad:
            raise ObjectCorrupt(
                say("{name}: its statement can't be read: {why}", name=name, why=bad), where=name
            ) from bad
    return frozenset(found)


def _reason(keep: KeepPolicy | None) -> str:
    if keep is None:
        return "no keep rule covers it"
    rules = ", ".join(f"{name} {count}" for name, count in keep.model_dump().items() if count)
    return f"no keep rule covers it: {rules}"
