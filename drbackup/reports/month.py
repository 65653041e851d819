"""The month on one page: what was promised, what was done, what was proven, system by system.

Owns the figures; :mod:`drbackup.reports.month_page` shows them. :func:`month_of` is pure; :func:`recall_month` reads
the catalog. A month that is not over is counted up to now. The time before a source's first point is not counted, but a
source without any point is a gap, whatever else went well. A point that is damaged in every copy covers nothing: nobody
could have restored it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta, tzinfo

import msgspec

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.drills import NEGATIVE_DRILL, Drill
from drbackup.controller.catalog.runs import Run, RunKind, RunState
from drbackup.model.point import Point
from drbackup.model.policy import Policy


class Month(msgspec.Struct, frozen=True):
    """One calendar month in the inventory's zone; ``end`` is exclusive, or now if the month is not over."""

    name: str  # 2026-11
    begin: datetime
    end: datetime
    whole: bool


class Cover(msgspec.Struct, frozen=True):
    """How long one source's promise held. ``since``: from when it is counted, the month's begin at the earliest; None:
    the source has no point yet. ``share``: of the time from then on; None: it was first protected after the month."""

    source: str
    since: datetime | None
    share: float | None

    @property
    def gap(self) -> bool:
        return self.since is None


class SystemMonth(msgspec.Struct, frozen=True):
    """One system's month. ``damaged``: how many of its points do not count, because no copy of them is whole."""

    policy: Policy
    committed: int
    failed: int
    missed: int
    covers: tuple[Cover, ...]  # one a source, in the policy's order
    stored_bytes: int
    drills: tuple[Drill, ...]  # newest first
    damaged: int = 0

    @property
    def gaps(self) -> tuple[str, ...]:
        """The sources that have no point yet."""
        return tuple(cover.source for cover in self.covers if cover.gap)

    @property
    def worst(self) -> Cover:
        """The source that says how the system stands: one without a point, else the one longest without cover."""
        return min(self.covers, key=lambda cover: (not cover.gap, 2.0 if cover.share is None else cover.share))

    @property
    def in_rpo(self) -> float | None:
        """Share of the counted time in which the promise held, of the worst source."""
        return self.worst.share

    @property
    def verdict(self) -> str:
        """The newest drill's; empty without one."""
        return self.drills[0].verdict if self.drills else ""

    @property
    def rto_measured(self) -> float | None:
        """The longest RTO a drill measured, seconds."""
        return max((drill.rto_seconds for drill in self.drills if drill.rto_seconds is not None), default=None)


class History(msgspec.Struct, frozen=True):
    """What happened to one system in a month, and its points shortly before it (the first instant's cover).

    ``first``: when each source was protected for the first time, in this month or long before. ``lost``: ids
    of points that are damaged in every copy; others than ``points`` may be among them.
    """

    runs: Sequence[Run]
    points: Sequence[Point]
    drills: Sequence[Drill]
    first: Mapping[str, datetime]
    lost: AbstractSet[str] = frozenset()


def month_at(name: str, zone: tzinfo, now: datetime) -> Month:
    """``2026-11`` in ``zone``. Raises ValueError for another form or a month in the future."""
    begin = datetime.strptime(name, "%Y-%m").replace(tzinfo=zone)
    after = (begin.replace(day=28) + timedelta(days=4)).replace(day=1)
    if begin > now:
        raise ValueError(f"{name} has not begun")
    return Month(name, begin, min(after, now), whole=after <= now)


def recall_month(catalog: Catalog, policy: Policy, month: Month) -> History:
    """One system's history out of the catalog."""
    system, begin = policy.system, month.begin
    drills = catalog.drills.between(begin, month.end, system=system)
    return History(
        list(catalog.runs.between(begin, month.end, kind=RunKind.BACKUP, system=system)),
        list(catalog.points.between(begin - policy.objectives.rpo, month.end, system=system)),
        [drill for drill in drills if _counts(drill)],
        _first(catalog, system),
        catalog.scrubs.lost(),
    )


def _first(catalog: Catalog, system: str) -> dict[str, datetime]:
    """Points are thinned out in time and a rebuilt catalog knows no runs, so the older of both counts."""
    by_runs, by_points = catalog.runs.first_commits(system), catalog.points.first_commits(system)
    return {
        source: min(found[source] for found in (by_runs, by_points) if source in found)
        for source in by_runs.keys() | by_points.keys()
    }


def _counts(drill: Drill) -> bool:
    """Only an ended drill of the copy itself: a negative one proves the prover."""
    return drill.ended_at is not None and drill.kind != NEGATIVE_DRILL


def month_of(policy: Policy, history: History, month: Month) -> SystemMonth:
    """The figures of one system."""
    states = [run.state for run in history.runs]
    inside = [point for point in history.points if point.committed_at >= month.begin]
    return SystemMonth(
        policy,
        states.count(RunState.COMMITTED),
        states.count(RunState.FAILED),
        states.count(RunState.MISSED),
        tuple(_cover(source.name, policy.objectives.rpo, history, month) for source in policy.sources),
        sum(point.totals.stored_bytes for point in inside),
        tuple(history.drills),
        sum(point.id in history.lost for point in history.points),
    )


def gaps_first(systems: Iterable[SystemMonth]) -> list[SystemMonth]:
    """Systems with an unprotected source before all others, else in the policies' order."""
    return sorted(systems, key=lambda each: not each.gaps)


def _cover(source: str, rpo: timedelta, history: History, month: Month) -> Cover:
    """Time before the first point is not counted: nobody had promised it. Without any point there is no excuse."""
    first = history.first.get(source)
    if first is None:
        return Cover(source, None, 0.0)
    since = max(first, month.begin)
    length = month.end - since
    if length <= timedelta(0):
        return Cover(source, since, None)
    points = [point for point in history.points if point.source == source and point.id not in history.lost]
    return Cover(source, since, _covered(points, rpo, since, month.end) / length)


def _covered(points: Iterable[Point], rpo: timedelta, begin: datetime, end: datetime) -> timedelta:
    """The time in which some committed point was at most ``rpo`` old. A point covers from its commit on."""
    covered = timedelta(0)
    until = begin
    for point in sorted(points, key=lambda each: each.committed_at):
        start = max(point.committed_at, until)
        stop = min(point.pinned_at + rpo, end)
        if stop > start:
            covered += stop - start
        until = max(until, stop)
    return covered
