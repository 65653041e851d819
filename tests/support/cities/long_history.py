"""Rows of years, written at once: what no test can wait for a backup to make."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import insert

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.runs import RunKind, RunState
from drbackup.controller.catalog.tables import drills, point_copies, points, runs
from drbackup.model.point import Rung
from drbackup.system.instants import to_ns


def add_points(
    catalog: Catalog, system: str, source: str, committed: Iterable[datetime], *, store: str = "main", prefix: str = "a"
) -> list[str]:
    """A committed point for each instant, with one copy, pinned a minute before; their ids in the given order."""
    when = list(committed)
    ids = [f"{prefix}{number:063x}" for number in range(len(when))]
    figures = dict.fromkeys(("entries", "files", "rows", "bytes", "new_bytes", "stored_bytes"), 1)
    same = {"system": system, "source": source, "domain": "d", "kind": "files", "session": "x", **figures}
    rows = [
        {
            "id": identity,
            "name": f"v1/r/{system}/{identity}",
            "pinned_ns": to_ns(at - timedelta(minutes=1)),
            "committed_ns": to_ns(at),
            "rung": int(Rung.WRITTEN),
            "rung_ns": to_ns(at),
            **same,
        }
        for identity, at in zip(ids, when, strict=True)
    ]
    copies = [{"point": row["id"], "store": store, "committed_ns": row["committed_ns"]} for row in rows]
    with catalog.database.write() as connection:
        connection.execute(insert(points), rows)
        connection.execute(insert(point_copies), copies)
    return ids


def add_runs(
    catalog: Catalog,
    system: str,
    source: str,
    due: Iterable[datetime],
    *,
    state: RunState = RunState.COMMITTED,
    kind: RunKind = RunKind.BACKUP,
) -> list[str]:
    """A run for each instant, all of one kind and in one state; their ids in the given order."""
    when = list(due)
    ids = [f"{system}-{source}-{number:06d}" for number in range(len(when))]
    same = {"kind": kind, "system": system, "source": source, "state": state}
    rows = [
        {"id": identity, "due_ns": to_ns(at), "created_ns": to_ns(at), "ended_ns": to_ns(at), **same}
        for identity, at in zip(ids, when, strict=True)
    ]
    with catalog.database.write() as connection:
        connection.execute(insert(runs), rows)
    return ids


def add_drills(catalog: Catalog, system: str, started: Iterable[datetime], *, under_way: int = -1) -> list[str]:
    """A passed drill for each instant, but the one of number ``under_way``; their ids in the given order."""
    when = list(started)
    ids = [f"d{number:04}" for number in range(len(when))]
    rows = [
        {"id": ids[number], "planned_ns": to_ns(at), "started_ns": to_ns(at), "system": system, "kind": "drill"}
        | ({"ended_ns": 0, "verdict": ""} if number == under_way else {"ended_ns": to_ns(at), "verdict": "passed"})
        for number, at in enumerate(when)
    ]
    with catalog.database.write() as connection:
        connection.execute(insert(drills), rows)
    return ids
