"""Every reason to call a person has one code, its figures, and a rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from drbackup.errors import Failure
from drbackup.model.needs import (
    RENEWED_WITHIN,
    BadEnd,
    BrokenPolicy,
    CityFacts,
    LastDrill,
    LockFacts,
    Need,
    NeedCode,
    NeedSeverity,
    ProtectedSource,
    StoreFacts,
    SystemFacts,
    needs_of,
)
from drbackup.model.scrub import Wounded

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FAILURE = Failure("HostUnreachable", "no route to db1", "db1", hint="look at the cable")
WELL = ProtectedSource("scans", NOW - timedelta(minutes=10))
DRILLED = LastDrill("d1", NOW - DAY, "passed", HOUR)
MENDABLE = Wounded("p1", NOW - DAY, ("main",), ("other",))
TORN = Wounded("p2", NOW - DAY, ("main", "other"), ())
GONE = Wounded("p3", NOW - DAY, ("main",), ())


def a_system(source: ProtectedSource = WELL, drill: LastDrill | None = DRILLED, **changes: object) -> SystemFacts:
    return replace(SystemFacts("registry", HOUR, 8 * HOUR, "month", (source,), drill), **changes)


def a_source(
    age: timedelta | None = timedelta(minutes=10),
    *,
    damaged: Sequence[Wounded] = (),
    lacking: Mapping[str, int] | None = None,
    failed: BadEnd | None = None,
    running: bool = False,
) -> SystemFacts:
    newest = None if age is None else NOW - age
    return a_system(ProtectedSource("scans", newest, running, failed, damaged, lacking or {}))


def city(*systems: SystemFacts) -> CityFacts:
    return CityFacts(systems)


CASES: dict[NeedCode, tuple[CityFacts, NeedSeverity]] = {
    NeedCode.POLICY_BROKEN: (CityFacts(broken=(BrokenPolicy("x.yaml", "x", "x.yaml:1:1: no"),)), NeedSeverity.URGENT),
    NeedCode.BACKUP_FAILED: (city(a_source(failed=BadEnd(NOW - HOUR, FAILURE))), NeedSeverity.NOTICE),
    NeedCode.BACKUP_MISSED: (city(a_source(failed=BadEnd(NOW, FAILURE, missed=True))), NeedSeverity.NOTICE),
    NeedCode.NEVER_BACKED_UP: (city(a_source(None)), NeedSeverity.URGENT),
    NeedCode.NOTHING_WHOLE: (city(a_source(None, damaged=[TORN])), NeedSeverity.URGENT),
    NeedCode.RPO_AT_RISK: (city(a_source(timedelta(minutes=55))), NeedSeverity.NOTICE),
    NeedCode.RPO_BREACHED: (city(a_source(timedelta(minutes=61))), NeedSeverity.URGENT),
    NeedCode.POINT_IN_FUTURE: (city(a_source(-HOUR)), NeedSeverity.NOTICE),
    NeedCode.COPY_DAMAGED: (city(a_source(damaged=[MENDABLE])), NeedSeverity.URGENT),
    NeedCode.EVERY_COPY_DAMAGED: (city(a_source(damaged=[TORN])), NeedSeverity.NOTICE),
    NeedCode.ONLY_COPY_DAMAGED: (city(a_source(damaged=[GONE])), NeedSeverity.NOTICE),
    NeedCode.COPY_LACKING: (city(a_source(lacking={"other": 2})), NeedSeverity.NOTICE),
    NeedCode.NO_DRILL_ASKED: (city(a_system(drill=None, drill_every=None)), NeedSeverity.NOTICE),
    NeedCode.NEVER_DRILLED: (city(a_system(drill=None)), NeedSeverity.NOTICE),
    NeedCode.DRILL_OVERDUE: (city(a_system(drill=replace(DRILLED, started_at=NOW - 40 * DAY))), NeedSeverity.NOTICE),
    NeedCode.DRILL_FAILED: (city(a_system(drill=replace(DRILLED, verdict="failed"))), NeedSeverity.URGENT),
    NeedCode.RTO_BREACHED: (city(a_system(drill=replace(DRILLED, rto=9 * HOUR))), NeedSeverity.URGENT),
    NeedCode.READ_BACK_FAILED: (CityFacts(stores=(StoreFacts("main", BadEnd(NOW, FAILURE)),)), NeedSeverity.NOTICE),
    NeedCode.READ_BACK_LATE: (
        CityFacts(stores=(StoreFacts("main", None, NOW - 31 * DAY, 30 * DAY),)),
        NeedSeverity.NOTICE,
    ),
    NeedCode.LOCKS_NOT_RENEWED: (CityFacts(locks=LockFacts(("cloud",), None)), NeedSeverity.NOTICE),
}


def only(facts: CityFacts) -> Need:
    (need,) = needs_of(facts, NOW)
    return need


@pytest.mark.parametrize("code", NeedCode)
def test_every_code_is_given_for_what_it_names_and_for_nothing_else(code: NeedCode) -> None:
    facts, severity = CASES[code]
    found = [need for need in needs_of(facts, NOW) if need.code is code]
    assert [need.severity for need in found] == [severity]
    others = {need.code for need in needs_of(facts, NOW)} - {code}
    assert others == ({NeedCode.EVERY_COPY_DAMAGED} if code is NeedCode.NOTHING_WHOLE else set())


def test_a_city_in_which_all_is_well_needs_nobody() -> None:
    stores = (StoreFacts("main", None, NOW - DAY, 30 * DAY), StoreFacts("empty", None, None, 30 * DAY))
    assert needs_of(CityFacts((a_system(),), stores, LockFacts(("main",), NOW - RENEWED_WITHIN)), NOW) == ()


def test_a_need_carries_its_figures_and_no_words() -> None:
    late = only(city(a_source(timedelta(minutes=61))))
    assert (late.system, late.source, late.seen, late.promised) == ("registry", "scans", timedelta(minutes=61), HOUR)
    failed = only(city(a_source(timedelta(minutes=61), failed=BadEnd(NOW - HOUR, FAILURE))))
    assert (failed.code, failed.at, failed.failure) == (NeedCode.BACKUP_FAILED, NOW - HOUR, FAILURE)
    assert failed.urgent  # it says why the promise is broken
    lacking = only(city(a_source(lacking={"other": 2})))
    assert (lacking.stores, lacking.count) == (("other",), 2)
    drill = only(city(a_system(drill=replace(DRILLED, verdict="failed", findings=("scans: 2 differ", "more")))))
    assert (drill.drill, drill.at) == ("d1", NOW - DAY)
    assert drill.failure == Failure("DrillFailed", "scans: 2 differ")
    unread = only(CityFacts(stores=(StoreFacts("main", None, NOW - 31 * DAY, 30 * DAY),)))
    assert (unread.stores, unread.seen, unread.promised) == (("main",), 31 * DAY, 30 * DAY)


def test_a_source_that_is_being_backed_up_is_seen_to_however_old_it_is() -> None:
    assert needs_of(city(a_source(None, running=True)), NOW) == ()
    assert needs_of(city(a_source(9 * HOUR, running=True)), NOW) == ()


@pytest.mark.parametrize("damage", [TORN, GONE])
def test_damage_that_nothing_mends_is_urgent_until_a_newer_point_is_whole(damage: Wounded) -> None:
    younger = a_source(timedelta(minutes=1), damaged=[damage])
    older = a_source(timedelta(minutes=1), damaged=[replace(damage, pinned_at=NOW)])
    assert not only(city(younger)).urgent
    assert only(city(older)).urgent


def test_a_source_whose_every_point_is_lost_was_not_never_backed_up() -> None:
    assert only(city(a_source(None, damaged=[GONE]))).code is NeedCode.ONLY_COPY_DAMAGED


def test_a_gibberish_verdict_counts_as_failed() -> None:
    assert only(city(a_system(drill=replace(DRILLED, verdict="gibberish")))).code is NeedCode.DRILL_FAILED


def test_the_urgent_stand_first_and_each_half_in_the_citys_order() -> None:
    facts = CityFacts(
        (
            a_source(lacking={"other": 1}),
            replace(a_source(None), system="second"),
            a_system(drill=None, system="third"),
        ),
        (StoreFacts("main", BadEnd(NOW, FAILURE)),),
        LockFacts(("main",), None),
        (BrokenPolicy("x.yaml", "", "x.yaml:1:1: no"),),
    )
    assert [(need.code, need.system) for need in needs_of(facts, NOW)] == [
        (NeedCode.POLICY_BROKEN, ""),
        (NeedCode.NEVER_BACKED_UP, "second"),
        (NeedCode.COPY_LACKING, "registry"),
        (NeedCode.NEVER_DRILLED, "third"),
        (NeedCode.READ_BACK_FAILED, ""),
        (NeedCode.LOCKS_NOT_RENEWED, ""),
    ]
