"""What is due: rows in the catalog, not timers in memory.

The decisions are pure and made in :mod:`drbackup.model.schedule`; here they are written to the catalog. Every instant
of a schedule becomes exactly one row: a run, or a missed one with its reason, kept for ever. After an outage the
controller compares the last instant in the catalog with the clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.runs import Run, RunKind
from drbackup.controller.catalog.schedules import Miss, Schedule
from drbackup.controller.home.policies import PolicySet
from drbackup.model.cron import parse_cron
from drbackup.model.policy import Policy, SchedulePolicy
from drbackup.model.schedule import due_after, missed, spread_offset

MISSED_ROWS = 500  # of one outage and source have a row each; older ones share one row that says how many
_TICK = timedelta(microseconds=1)
_MINUTE = timedelta(minutes=1)
VAULT = "vault"  # stands for the system in a run of a store, which has none

Wanted = tuple[RunKind, str, str, SchedulePolicy]  # kind, system, source, schedule


class Scheduler:
    """The writer of due and missed rows, from policies and the clock. Only one thread may call it."""

    def __init__(self, catalog: Catalog, started_at: datetime) -> None:
        self._catalog = catalog
        self._started_at = started_at

    def look(self, policies: PolicySet, now: datetime) -> list[Run]:
        """The runs to start, the longest due first. All that became due or was missed by ``now`` is in the catalog.

        Raises :class:`~drbackup.errors.CatalogUnusable`; the next call then writes it all.
        """
        held = {(each.kind, each.system, each.source): each for each in self._catalog.schedules.list()}
        for kind, system, source, schedule in wanted(policies):
            self._look_at(held.pop((kind, system, source), None), (kind, system, source, schedule), now)
        for kind, system, source in held:
            self._catalog.schedules.drop(kind, system, source, now=now)
        return list(self._catalog.runs.due(now))

    def next_due(self) -> datetime | None:
        """The next instant at which anything is due. None without a schedule."""
        return min((each.next_due for each in self._catalog.schedules.list()), default=None)

    def _look_at(self, known: Schedule | None, want: Wanted, now: datetime) -> None:
        kind, system, source, schedule = want
        mark = fingerprint(schedule)
        if known is None or known.fingerprint != mark:
            # A new or changed schedule counts from now on. The old one's instants up to now are in the catalog already,
            # and the new one's past instants were never promised.
            last = known.last_due if known else None
            first = due_after(schedule, system, None, now)
            fresh = Schedule(kind, system, source, last, first, mark)
            self._catalog.schedules.advance(fresh, due=None, missed=(), now=now)
            return
        if known.next_due > now:
            return
        since = known.last_due if known.last_due and known.last_due < known.next_due else known.next_due - _TICK
        due = due_after(schedule, system, since, now)
        lost = missed(schedule, system, since, now)
        last = max((*lost, *((due,) if due <= now else ())), default=since)
        following = due if due > now else due_after(schedule, system, last, now)
        self._catalog.schedules.advance(
            Schedule(kind, system, source, last, following, mark),
            due=due if due <= now else None,
            missed=tuple(self._misses(lost)),
            now=now,
        )

    def _misses(self, lost: tuple[datetime, ...]) -> Iterator[Miss]:
        older, newest = lost[:-MISSED_ROWS], lost[-MISSED_ROWS:]
        if older:
            yield Miss(older[-1], f"{self._why(older[-1])} (and {len(older) - 1} earlier ones since {older[0]:%F %R}Z)")
        for due in newest:
            yield Miss(due, self._why(due))

    def _why(self, due: datetime) -> str:
        if due < self._started_at:
            return f"no controller was running; one has been since {self._started_at:%F %R}Z"
        return "the controller could not look in time, or the schedule says to skip"


def wanted(policies: PolicySet) -> Iterator[Wanted]:
    """Every schedule the policies ask for."""
    for system, policy in sorted(policies.policies.items()):
        for source in policy.sources:
            yield RunKind.BACKUP, system, source.name, policy.schedule
        drill = drill_schedule(policy, policies.inventory.time_zone)
        if drill is not None:
            yield RunKind.DRILL, system, "", drill
    for name, store in sorted(policies.inventory.stores.items()):
        if store.scrub.nightly:
            yield RunKind.SCRUB, VAULT, name, scrub_schedule(name, policies.inventory.time_zone)


def scrub_schedule(store: str, time_zone: str) -> SchedulePolicy:
    """The schedule of a store's scrubs: every night, each store at its own fixed minute between 0 and 5 o'clock.

    A controller that was off then scrubs as soon as it runs.
    """
    minute = spread_offset(f"{store}/scrub", timedelta(hours=5)) // _MINUTE
    return SchedulePolicy(cron=parse_cron(f"{minute % 60} {minute // 60} * * *"), time_zone=time_zone, catch_up="once")


def drill_schedule(policy: Policy, time_zone: str) -> SchedulePolicy | None:
    """The schedule of a system's drills: at night, each system at its own fixed minute, so that they do not queue up.

    ``month`` is a day from 1 to 28, ``week`` any day; the same for a system every time. None without drills. A policy
    may name an interval instead.
    """
    if policy.drill is None:
        return None
    every = policy.drill.every
    if isinstance(every, timedelta):
        return SchedulePolicy(every=every, time_zone=time_zone)
    minute = spread_offset(policy.system, timedelta(hours=5)) // _MINUTE
    day = spread_offset(f"{policy.system}/drill", timedelta(days=28)) // timedelta(days=1)
    when = {"day": "* * *", "week": f"* * {day % 7}", "month": f"{day + 1} * *"}[every]
    return SchedulePolicy(cron=parse_cron(f"{minute % 60} {minute // 60} {when}"), time_zone=time_zone)


def fingerprint(schedule: SchedulePolicy) -> str:
    """A digest that changes exactly when the schedule does: SHA-256, hex."""
    return hashlib.sha256(schedule.model_dump_json().encode()).hexdigest()
