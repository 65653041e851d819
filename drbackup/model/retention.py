"""Which recovery points stay, and why: a pure decision that is shown to a person before it is carried out.

Points of one system go in, a ruling with reasons for each comes out. Invariants:

* A held point stays.
* Of each source, the newest point of every rung of the ladder stays, so the newest one proven good never goes.
* The ``at_least_drilled`` newest app-checked points stay, whatever their age.
* A point from the future stays, because then a clock was wrong.
* A point of a consistency group stays as long as any other point of the group does.

Periods without a point are not counted: a source that was not backed up for a month keeps its older points.

A *lost* point is known to be damaged in every copy. Each of its places (like "daily 3 of 7") goes to a whole point, as
if the lost one were not there. The lost one itself stays as long as it would if it were whole. Much of it may still
restore, its copies may repair each other, and a disk may come back. So knowledge of damage keeps more points, never
fewer: nobody can make a point go by calling it, or another one, damaged.
"""

from __future__ import annotations

import zoneinfo
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime

import msgspec

from drbackup.model.point import Point, Rung
from drbackup.model.policy import KeepPolicy

_Periods = tuple[tuple[str, int, Callable[[datetime], tuple[int, ...]]], ...]


class Ruling(msgspec.Struct, frozen=True):
    """One point, whether it stays, and every reason for that, in plain words."""

    point: Point
    keep: bool
    reasons: tuple[str, ...]


class Retention(msgspec.Struct, frozen=True):
    """The decision for a set of points, newest first in both lists."""

    keep: tuple[Ruling, ...]
    drop: tuple[Ruling, ...]


def decide_retention(
    points: Iterable[Point],
    keep: KeepPolicy,
    now: datetime,
    time_zone: str = "UTC",
    *,
    lost: AbstractSet[str] = frozenset(),
) -> Retention:
    """The ruling on every point of one system. ``now`` is an aware instant.

    Days, weeks, months and years are those of ``time_zone``, an IANA name. ``lost``: ids of points that are damaged in
    every copy. They need not be among ``points``.
    """
    by_source: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for point in points:
        by_source[point.system, point.source].append(point)
    reasons: dict[str, list[str]] = {}
    zone = zoneinfo.ZoneInfo(time_zone)
    for members in by_source.values():
        members.sort(key=_age, reverse=True)
        as_if_whole = _rules(members, keep, zone)
        by_rule = as_if_whole
        if not lost.isdisjoint(as_if_whole):
            by_rule = _rules([point for point in members if point.id not in lost], keep, zone)
        for point in members:
            some = by_rule[point.id] if point.id not in lost else _of_a_lost_one(as_if_whole[point.id])
            reasons[point.id] = [*_of_itself(point, now), *some]
    ordered = sorted((point for members in by_source.values() for point in members), key=_age, reverse=True)
    _keep_groups_whole(ordered, reasons)
    rulings = [
        Ruling(point, True, tuple(reasons[point.id]))
        if reasons[point.id]
        else Ruling(point, False, ("no keep rule covers it",))
        for point in ordered
    ]
    return Retention(
        keep=tuple(ruling for ruling in rulings if ruling.keep),
        drop=tuple(ruling for ruling in rulings if not ruling.keep),
    )


def _age(point: Point) -> tuple[datetime, datetime, str]:
    # The pinned instant decides. Commit time and id only give equal instants a fixed order.
    return point.pinned_at, point.committed_at, point.id


def _of_itself(point: Point, now: datetime) -> list[str]:
    """The reasons for which a point stays, whatever other points there are."""
    reasons = [f"held: {point.held}"] if point.held else []
    if point.pinned_at > now:
        reasons.append("lies in the future: a clock was wrong")
    return reasons


def _of_a_lost_one(rules: Sequence[str]) -> list[str]:
    """The reason of a lost point. It takes no place from another, so its text differs from those that do."""
    return [f"damaged in every copy, stays as if it were whole: {', '.join(rules)}"] if rules else []


def _rules(newest_first: Sequence[Point], keep: KeepPolicy, zone: zoneinfo.ZoneInfo) -> dict[str, list[str]]:
    """Point → the places it takes among these points of one source."""
    reasons: dict[str, list[str]] = {point.id: [] for point in newest_first}
    for rung in Rung:
        best = next((point for point in newest_first if point.rung >= rung), None)
        if best is not None:
            reasons[best.id].append(f"newest {rung.label}")
    drilled = [point for point in newest_first if point.rung >= Rung.APP_CHECKED]
    for number, point in enumerate(drilled[: keep.at_least_drilled], start=1):
        reasons[point.id].append(f"app-checked {number} of {keep.at_least_drilled}")
    for name, count, period_of in _periods(keep, zone):
        seen: set[tuple[int, ...]] = set()
        for point in newest_first:
            period = period_of(point.pinned_at)
            if len(seen) < count and period not in seen:
                seen.add(period)
                reasons[point.id].append(f"{name} {len(seen)} of {count}")
    return reasons


def _periods(keep: KeepPolicy, zone: zoneinfo.ZoneInfo) -> _Periods:
    def local(moment: datetime) -> datetime:
        return moment.astimezone(zone)

    def hour(moment: datetime) -> tuple[int, ...]:
        # Hours are counted in UTC: the hour that comes twice in autumn is two hours of work.
        return moment.astimezone(UTC).timetuple()[:4]

    return (
        ("hourly", keep.hourly, hour),
        ("daily", keep.daily, lambda moment: local(moment).timetuple()[:3]),
        ("weekly", keep.weekly, lambda moment: tuple(local(moment).isocalendar()[:2])),
        ("monthly", keep.monthly, lambda moment: local(moment).timetuple()[:2]),
        ("yearly", keep.yearly, lambda moment: (local(moment).year,)),
    )


def _keep_groups_whole(points: Sequence[Point], reasons: dict[str, list[str]]) -> None:
    kept = {point.group for point in points if point.group and reasons[point.id]}
    for point in points:
        if point.group in kept and not reasons[point.id]:
            reasons[point.id].append(f"belongs to kept group {point.group}")
