"""Points that exist in a store but not in the catalog: the controller died after the commit, before its own row.

The record in the store is the commit. The catalog only follows it, so adopting never writes to a store.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from drbackup.controller.home.installation import Installation
from drbackup.errors import DrbackupError, ObjectCorrupt, ObjectMissing, SignatureInvalid
from drbackup.model.point import Point
from drbackup.system.instants import from_ns
from drbackup.vault.layout import digest_in_name
from drbackup.vault.record import Record, Sealed, list_records, read_record, unseal


def adopt_records(
    installation: Installation,
    store_name: str,
    system: str = "",
    strange: list[DrbackupError] | None = None,
    *,
    now: datetime,
) -> tuple[Point, ...]:
    """The points that were new to the catalog, by commit time: afterwards it knows every record of ``system`` there.

    An empty ``system`` means all systems. Raises the store's errors. A record that is not ours raises
    :class:`SignatureInvalid` or :class:`ObjectCorrupt`; with ``strange`` given it is skipped and its error added there.
    """
    store, catalog = installation.store(store_name), installation.catalog
    adopted = []
    known, held = catalog.points.known(), catalog.points.known(store_name)
    for stat in list_records(store, system):
        if stat.name in held:
            continue
        identity = digest_in_name(stat.name)
        if stat.name in known:
            catalog.points.add_copy(identity, store_name, now=stat.stored_at or now)
            continue
        try:
            record = read_record(store, stat.name, installation.signer.public)
        except ObjectMissing:
            continue  # collected since it was listed
        except (ObjectCorrupt, SignatureInvalid) as not_ours:
            if strange is None:
                raise
            strange.append(not_ours)
            continue
        point = point_of(record, unseal(record, installation.keyring), (identity, stat.name), (store_name,))
        catalog.points.add(point, session=record.session, previous=record.previous)
        adopted.append(point)
    # Names have only seconds in them: the store lists two records of one second in any order.
    return tuple(sorted(adopted, key=lambda point: point.committed_at))


def reconcile_dead_runs(
    installation: Installation, system: str, source: str, now: Callable[[], datetime]
) -> tuple[Point, ...]:
    """The points of runs that died or failed while committing, but had committed after all.

    Each such run is settled in the catalog. Raises the store's error; then no run is settled and the next backup
    tries again.
    """
    unsettled = installation.catalog.runs.unsettled(system, source)
    if not unsettled:
        return ()
    # A commit begins in the store that was the first copy's then: if the record is not there, it is nowhere.
    # A record that is not ours is no commit of ours, and must not prevent the source's backups.
    strange: list[DrbackupError] = []
    sessions = [session for run in unsettled for session in installation.catalog.sessions.list(run=run.id)]
    stores = dict.fromkeys([installation.policy(system).copies[0], *(session.store for session in sessions)])
    known = [name for name in stores if name in installation.inventory.stores]
    adopted = [point for name in known for point in adopt_records(installation, name, system, strange, now=now())]
    seen = "".join(f"; not ours: {each.where}" for each in strange)
    for run in unsettled:
        point = installation.catalog.points.of_session(run.id, system, run.source)
        identity = point.id if point else ""
        installation.catalog.runs.settle(run.id, identity, now=now(), detail=(identity or "no record") + seen)
    return tuple(adopted)


def point_of(record: Record, sealed: Sealed, name: tuple[str, str], copies: tuple[str, ...]) -> Point:
    """The catalog's view of a record. ``name`` is (id, object name); ``copies`` are the stores that have it."""
    return Point(
        id=name[0],
        name=name[1],
        system=record.system,
        source=record.source,
        domain=record.domain,
        kind=record.kind,
        pinned_at=from_ns(record.pinned_ns),
        committed_at=from_ns(record.committed_ns),
        totals=sealed.totals,
        rung_at=from_ns(record.committed_ns),
        group=record.group,
        copies=copies,
    )
