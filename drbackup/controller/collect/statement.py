"""The signed statement of what is collected: which points, and why. Written before their first record goes.

It is a piece of evidence like a drill's: chained, signed, in every store, readable in clear beside the home's evidence.
A rebuilt catalog and an auditor tell by it a record that was collected from one that was lost.
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
    """One point. ``id``: its record's SHA-256, hex; ``record``: the record's name; ``stores``: where it is removed."""

    id: str
    record: str
    system: str
    source: str
    stores: tuple[str, ...]
    reason: str


class CollectedStatement(msgspec.Struct, frozen=True):
    """Everything one collect removes. ``id`` is random: the statement's hash, which any store's owner sees, must tell
    nothing. ``at``: ISO 8601, UTC."""

    id: str
    city: str
    at: str
    points: tuple[CollectedPoint, ...]
    format: str = COLLECTED_FORMAT


def state_collected(
    installation: Installation, leaving: Sequence[Leaving], now: datetime, collected: Collection[str]
) -> None:
    """Sign, chain and store the statement. Raises :class:`StoreUnavailable` unless every store in ``collected`` has
    it."""
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
    """Ids of all points that these statements (by their objects' names) name.

    Raises :class:`ObjectCorrupt` for one that can't be read.
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
