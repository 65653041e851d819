"""Collect: what nothing needs any more is removed from the stores, in two phases with a grace between them.

Order of one collect, each step durable before the next begins:

1. points that no rule keeps are *marked* in the catalog: no list shows them any more, and nobody can hold them;
2. a signed statement that names them goes into every store, so that a collected record is not taken for a lost one;
3. their records are erased; after each one, the catalog forgets the copy;
4. all is read anew. Packs that a record names are pardoned, those in no record condemned, sparse ones retired;
5. packs that were condemned a grace ago are erased, and only then forgotten by the catalog.

After a crash the next collect goes on: with a marked point, a condemned pack, or an object that is gone and still
known. Nothing is erased before a durable statement or condemnation names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.lifecycle import Leaving
from drbackup.controller.collect.survey import Survey, Surveyor
from drbackup.errors import DrbackupError, UsageError, say
from drbackup.model.collect import (
    COLLECT_GRACE,
    GRACE_LEAST,
    LEASE_MARGIN,
    SESSION_MOST,
    Act,
    CollectPlan,
    PackCopy,
    PackDecision,
    PointContext,
    PointDecision,
    Rules,
    decide_packs,
    decide_points,
)
from drbackup.model.point import Point
from drbackup.model.policy import Policy
from drbackup.model.retention import Ruling, decide_retention
from drbackup.stores.base import Store
from drbackup.stores.erase import Erased, Eraser
from drbackup.system.ahead import ahead
from drbackup.system.instants import to_ns
from drbackup.vault.keys import Keyring
from drbackup.vault.layout import object_name

Judge = Callable[[Sequence[Point], AbstractSet[str], datetime], Iterable[Ruling]]  # all points, ids of lost ones, now
Watch = Callable[[str, int, int], None]  # what, done, in all
_AT_ONCE = 256  # packs between two writes into the catalog


class Vaults(msgspec.Struct, frozen=True):
    """The catalog, stores and keys that a collect works with."""

    catalog: Catalog
    stores: Mapping[str, Store]  # all of the inventory
    erasers: Mapping[str, Eraser]  # of the stores that are collected
    keyring: Keyring  # the catalog key at least
    evidence_key: bytes  # Ed25519, public
    readers: int = 8  # requests at once; 1: every call happens in the caller's thread


class Kept(msgspec.Struct, frozen=True):
    """An object that was to be erased but is locked."""

    store: str
    name: str
    until: datetime | None  # UTC; None: a legal hold of the store itself, or a lock without a known end


class CollectReport(msgspec.Struct, frozen=True):
    """What a collect did, in all stores together."""

    plan: CollectPlan
    removed: tuple[Leaving, ...]  # points of which no record is left
    erased: int  # packs
    erased_bytes: int  # of these packs
    kept: tuple[Kept, ...]
    survey: Survey  # what was read after the points were removed


@dataclass(slots=True)
class Collector:
    """One collect. Raises :class:`UsageError` for a grace that is too short to be safe."""

    vaults: Vaults
    judge: Judge  # what retention says of all points
    state: Callable[[Sequence[Leaving], datetime], None]  # signs a statement and stores it everywhere, or raises
    now: Callable[[], datetime]  # UTC
    grace: timedelta = COLLECT_GRACE
    watch: Watch = lambda _what, _done, _total: None
    _kept: list[Kept] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.grace < GRACE_LEAST:
            raise UsageError(
                say(
                    "a grace of {grace} is too short: a session may take {session_most} to commit",
                    grace=self.grace,
                    session_most=SESSION_MOST,
                ),
                hint=say("at least {grace_least}", grace_least=GRACE_LEAST),
            )

    def plan(self) -> CollectPlan:
        """The plan of what :meth:`apply` would do now. Nothing is changed. Raises the stores' errors."""
        return self.look()[0]

    def look(self) -> tuple[CollectPlan, Survey]:
        """The plan, and the survey that it was made from. Nothing is changed. Raises the stores' errors."""
        now = self.now()
        decisions = self._points(self._every_point(), now)
        going = {decision.point.id for decision in decisions if decision.goes}
        leaving = {point.id for point in self._leaving()}
        survey, packs = self._judge_packs(going | leaving, now)
        return CollectPlan(decisions, packs), survey

    def apply(self) -> CollectReport:
        """The report of a collect that was carried out.

        Raises the stores' errors. What was done before stays done, and the next collect goes on.
        """
        now = self.now()
        self._kept = []
        points = self._every_point()
        decisions = self._points(points, now)
        removed = self._remove([decision.point for decision in decisions if decision.goes], points, now)
        # Read anew: a point whose record is still there must keep its packs.
        survey, packs = self._judge_packs((), now)
        erased = self._act(packs, now)
        return CollectReport(
            plan=CollectPlan(decisions, packs),
            removed=removed,
            erased=len(erased),
            erased_bytes=sum(copy.size for copy in erased),
            kept=tuple(self._kept),
            survey=survey,
        )

    # --- looking ---------------------------------------------------------------------------------------------------

    def _every_point(self) -> list[Point]:
        return list(self.vaults.catalog.points.list())

    def _points(self, points: Sequence[Point], now: datetime) -> tuple[PointDecision, ...]:
        erasers, stores = self.vaults.erasers, self.vaults.stores
        ground = PointContext(to_ns(now), stores.keys(), erasers.keys(), self.vaults.catalog.lifecycle.locks())
        return decide_points(self.judge(points, self.vaults.catalog.scrubs.lost(), now), ground)

    def _judge_packs(self, without: Iterable[str], now: datetime) -> tuple[Survey, tuple[PackDecision, ...]]:
        # A domain that was busy before the stores were read may have a new record that this survey did not see.
        busy = self._busy(now)
        survey = self._survey(without)
        rules = Rules(to_ns(now), self.grace, busy | self._busy(now))
        return survey, decide_packs(survey.copies, survey.needs, rules)

    def _survey(self, without: Iterable[str]) -> Survey:
        vaults = self.vaults
        surveyor = Surveyor(
            vaults.catalog,
            vaults.stores,
            vaults.erasers.keys(),
            vaults.keyring,
            vaults.evidence_key,
            vaults.readers,
        )
        return surveyor.survey(frozenset(without))

    def _busy(self, now: datetime) -> dict[str, str]:
        """Domain → the id of a session or run that may still commit there."""
        catalog = self.vaults.catalog
        return catalog.sessions.busy(since=now - SESSION_MOST - LEASE_MARGIN) | catalog.runs.standing_still()

    # --- points ----------------------------------------------------------------------------------------------------

    def _leaving(self) -> list[Leaving]:
        """The marked points that can be removed now: no store outside this collect has their record."""
        known, collected = self.vaults.stores.keys(), self.vaults.erasers.keys()
        marked = self.vaults.catalog.lifecycle.marked()
        return [point for point in marked if not (set(point.stores) & known) - collected]

    def _remove(self, going: Sequence[Point], judged: Sequence[Point], now: datetime) -> tuple[Leaving, ...]:
        lifecycle = self.vaults.catalog.lifecycle
        fresh = {point.id for point in lifecycle.mark(going, judged, now=now)}
        leaving = self._leaving()
        if not leaving:
            return ()
        self._state(leaving, fresh, now)
        removed = []
        for number, point in enumerate(leaving, 1):
            if self._remove_one(point):
                removed.append(point)
            elif point.id in fresh and self._whole(point):
                lifecycle.unmark(point.id)
            self.watch("points", number, len(leaving))
        return tuple(removed)

    def _state(self, leaving: Sequence[Leaving], fresh: Iterable[str], now: datetime) -> None:
        try:
            self.state(leaving, now)
        except DrbackupError:
            # Nothing was removed yet, so what this collect marked is a point like any other again.
            for point in fresh:
                self.vaults.catalog.lifecycle.unmark(point)
            raise

    def _remove_one(self, point: Leaving) -> bool:
        """Whether nothing is left of the point's record, after erasing it from all stores."""
        lifecycle, gone = self.vaults.catalog.lifecycle, True
        for store in point.stores:
            if store not in self.vaults.erasers:  # no store of the inventory any more: its copy is forgotten
                lifecycle.removed(point.id, store)
                continue
            outcome = self._erase(store, point.name)
            if outcome.gone:
                lifecycle.removed(point.id, store)
            else:
                gone = False
                lifecycle.lock_record(point.id, store, to_ns(outcome.locked_until) if outcome.locked_until else 0)
        return gone

    def _whole(self, point: Leaving) -> bool:
        left = {each.id: each.stores for each in self.vaults.catalog.lifecycle.marked()}
        return left.get(point.id) == point.stores

    # --- packs -----------------------------------------------------------------------------------------------------

    def _act(self, decisions: Sequence[PackDecision], now: datetime) -> list[PackCopy]:
        """The copies that are erased, after doing all that the decisions say."""
        lifecycle = self.vaults.catalog.lifecycle
        chosen = {act: [decision.copy for decision in decisions if decision.act is act] for act in Act}
        lifecycle.pardon(chosen[Act.PARDON])
        lifecycle.retire(chosen[Act.RETIRE], now=now)
        lifecycle.condemn(chosen[Act.CONDEMN], now=now)
        erased: list[PackCopy] = []
        ripe = chosen[Act.ERASE]
        for begin in range(0, len(ripe), _AT_ONCE):
            erased += self._erase_packs(ripe[begin : begin + _AT_ONCE])
            self.watch("packs", min(begin + _AT_ONCE, len(ripe)), len(ripe))
        return erased

    def _erase_packs(self, copies: Sequence[PackCopy]) -> list[PackCopy]:
        lifecycle = self.vaults.catalog.lifecycle
        gone: list[PackCopy] = []
        # Asked again: another collect may have pardoned one since it was judged.
        ripe = lifecycle.still_condemned(copies)

        def erase(copy: PackCopy) -> Erased:
            return self._erase(copy.store, object_name(copy.domain, copy.pack))

        try:
            for copy, outcome in ahead(erase, ripe, self.vaults.readers):
                if outcome.gone:
                    gone.append(copy)
                elif outcome.locked_until is not None:
                    lifecycle.lock([copy], to_ns(outcome.locked_until))
        except DrbackupError:
            lifecycle.erased(gone)  # those that were erased before the store failed
            raise
        lifecycle.erased(gone)
        return gone

    def _erase(self, store: str, name: str) -> Erased:
        outcome = self.vaults.erasers[store].erase(name)
        if not outcome.gone:
            self._kept.append(Kept(store, name, outcome.locked_until))
        return outcome


def judge_by_policies(
    policies: Mapping[str, Policy], points: Sequence[Point], lost: AbstractSet[str], now: datetime
) -> Iterator[Ruling]:
    """The rulings on all points, each system's by its own policy. A system without a policy keeps everything.

    ``lost``: the ids of points that are damaged in every copy.
    """
    for system in sorted({point.system for point in points}):
        some = [point for point in points if point.system == system]
        policy = policies.get(system)
        if policy is None:
            yield from (Ruling(point, True, ("its system has no policy",)) for point in some)
        else:
            retention = decide_retention(some, policy.keep, now, policy.schedule.time_zone, lost=lost)
            yield from sorted((*retention.keep, *retention.drop), key=lambda ruling: ruling.point.pinned_at)
