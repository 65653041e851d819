"""The figures of a month: what was promised, done and proven, for each system.

:mod:`drbackup.reports.month_page` shows them. :func:`month_of` is pure; :func:`recall_month` reads the catalog. A month
that is not over is counted up to now. The time before a source's first point is not counted. A source without any point
is a gap, whatever else went well. A point that is damaged in every copy does not count, because nobody could have
restored it.
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
    """One calendar month in the inventory's zone, as far as it is over."""

    name: str  # 2026-11
    begin: datetime
    end: datetime  # exclusive; now, if the month is not over
    whole: bool  # whether the month is over


class Cover(msgspec.Struct, frozen=True):
    """How long one source's RPO held in a month."""

    source: str
    since: datetime | None  # the time counts from here, the month's begin at the earliest; None: there is no point yet
    share: float | None  # 0–1, of the time since then; None: the source was first protected after the month

    @property
    def gap(self) -> bool:
        return self.since is None


class SystemMonth(msgspec.Struct, frozen=True):
    """The figures of one system in a month."""

    policy: Policy
    committed: int  # backup runs that made a point
    failed: int  # backup runs
    missed: int  # backup runs
    covers: tuple[Cover, ...]  # one for each source, in the policy's order
    stored_bytes: int  # that the month's points added, as packed and encrypted
    drills: tuple[Drill, ...]  # newest first
    damaged: int = 0  # points that do not count, because no copy of them is whole

    @property
    def gaps(self) -> tuple[str, ...]:
        """The sources that have no point yet."""
        return tuple(cover.source for cover in self.covers if cover.gap)

    @property
    def worst(self) -> Cover:
        """The source with the worst figure: one without a point, else the one with the smallest share."""
        return min(self.covers, key=lambda cover: (not cover.gap, 2.0 if cover.share is None else cover.share))

    @property
    def in_rpo(self) -> float | None:
        """The share of the counted time, 0–1, in which the worst source's RPO held; None: nothing was counted."""
        return self.worst.share

    @property
    def verdict(self) -> str:
        """The newest drill's verdict; empty without a drill."""
        return self.drills[0].verdict if self.drills else ""

    @property
    def rto_measured(self) -> float | None:
        """The longest RTO that a drill measured, in seconds; None when none did."""
        return max((drill.rto_seconds for drill in self.drills if drill.rto_seconds is not None), default=None)


class History(msgspec.Struct, frozen=True):
    """What happened to one system in a month, as the catalog has it."""

    runs: Sequence[Run]  # backup runs
    points: Sequence[Point]  # the month's, and those of one RPO before it, which cover its first instant
    drills: Sequence[Drill]  # ended ones, newest first; no negative drills
    first: Mapping[str, datetime]  # source → when it was protected for the first time, in this month or before
    lost: AbstractSet[str] = frozenset()  # ids of points that are damaged in every copy, of all systems


def month_at(name: str, zone: tzinfo, now: datetime) -> Month:
    """The month that ``2026-11`` names, in ``zone``. Raises ValueError for another form or a month in the future."""
    begin = datetime.strptime(name, "%Y-%m").replace(tzinfo=zone)
    after = (begin.replace(day=28) + timedelta(days=4)).replace(day=1)
    if begin > now:
        raise ValueError(f"{name} has not begun")
    return Month(name, begin, min(after, now), whole=after <= now)


def recall_month(catalog: Catalog, policy: Policy, month: Month) -> History:
    """One system's history in a month, read from the catalog."""
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
    """The first commit of each source: the older one of what runs and points say.

    Old points are collected, and a rebuilt catalog knows no runs, so neither is enough alone.
    """
    by_runs, by_points = catalog.runs.first_commits(system), catalog.points.first_commits(system)
    return {
        source: min(found[source] for found in (by_runs, by_points) if source in found)
        for source in by_runs.keys() | by_points.keys()
    }


def _counts(drill: Drill) -> bool:
    """Whether a drill counts: it has ended and is no negative drill, which tests the drill and not the copy."""
    return drill.ended_at is not None and drill.kind != NEGATIVE_DRILL


def month_of(policy: Policy, history: History, month: Month) -> SystemMonth:
    """The figures of one system in a month. Pure."""
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
    """The systems, those with a gap first; apart from that their order is kept."""
    return sorted(systems, key=lambda each: not each.gaps)


def _cover(source: str, rpo: timedelta, history: History, month: Month) -> Cover:
    """One source's cover. The time before its first point is not counted; without any point the share is 0."""
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
    """The time from ``begin`` to ``end`` in which some committed point was at most ``rpo`` old.

    A point covers the time from its commit until its data is older than ``rpo``.
    """
    covered = timedelta(0)
    until = begin
    for point in sorted(points, key=lambda each: each.committed_at):
        start = max(point.committed_at, until)
        stop = min(point.pinned_at + rpo, end)
        if stop > start:
            covered += stop - start
        until = max(until, stop)
    return covered
