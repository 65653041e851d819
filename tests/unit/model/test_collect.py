"""Each reason why a point or a pack stays or goes, one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from drbackup.model.collect import (
    COLLECT_GRACE,
    PACK_OVERHEAD,
    Act,
    CollectPlan,
    DecisionReason,
    Needs,
    PackCopy,
    PackDecision,
    PointContext,
    Rules,
    Why,
    decide_packs,
    decide_points,
    lease_ns,
    lock_end_ns,
    lock_is_short,
)
from drbackup.model.point import Point, Totals
from drbackup.model.retention import Ruling

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NOW_NS = int(NOW.timestamp()) * 1_000_000_000
DAY = 86_400 * 1_000_000_000
BOTH = frozenset({"main", "other"})


def point(number: int, **changes: object) -> Point:
    """A point that is ``number`` days old, in both stores."""
    made = NOW - timedelta(days=number)
    fields: dict[str, object] = {
        "id": f"{number:064x}",
        "name": f"v1/r/base/{number}",
        "system": "base",
        "source": "registry",
        "domain": "db1",
        "kind": "files",
        "pinned_at": made,
        "committed_at": made,
        "totals": Totals(),
        "copies": ("main", "other"),
    }
    return Point(**{**fields, **changes})  # type: ignore[arg-type]


def judged(*rulings: tuple[Point, bool], **ground: object) -> dict[str, tuple[DecisionReason, ...]]:
    """Point id → reasons, of those that stay."""
    fields: dict[str, object] = {"now_ns": NOW_NS, "stores": BOTH, "collected": BOTH, **ground}
    every = [Ruling(each, keep, ("daily 1 of 3",) if keep else ("no keep rule covers it",)) for each, keep in rulings]
    decisions = decide_points(every, PointContext(**fields))  # type: ignore[arg-type]
    assert [decision.point for decision in decisions] == [each for each, _ in rulings]
    assert all(decision.reasons for decision in decisions)
    return {decision.point.id: decision.reasons for decision in decisions if not decision.goes}


# --- points -----------------------------------------------------------------------------------------------------------


def test_a_point_that_no_rule_keeps_goes() -> None:
    old, new = point(40), point(0)
    assert judged((old, False), (new, True)) == {new.id: (DecisionReason(Why.KEPT, "daily 1 of 3"),)}


def test_the_newest_of_a_source_stays_whatever_retention_says() -> None:
    old, new, other = point(9), point(8), point(20, source="scans")
    stays = judged((old, False), (new, False), (other, False))
    assert stays == {new.id: (DecisionReason(Why.NEWEST),), other.id: (DecisionReason(Why.NEWEST),)}


def test_a_held_point_stays_even_if_retention_had_not_seen_the_hold() -> None:
    held = point(40, held="court order 7")
    assert judged((held, False), (point(0), True))[held.id] == (DecisionReason(Why.HELD, "court order 7"),)


def test_a_locked_record_stays_until_its_lock_is_over() -> None:
    old = point(40)
    locks = {(old.id, "main"): NOW_NS - DAY, (old.id, "other"): NOW_NS + DAY}
    assert judged((old, False), (point(0), True), locks=locks)[old.id] == (
        DecisionReason(Why.LOCKED, "other", NOW_NS + DAY),
    )
    assert old.id not in judged((old, False), (point(0), True), locks=locks, now_ns=NOW_NS + DAY)


def test_a_point_goes_from_all_its_stores_or_from_none() -> None:
    old = point(40)
    stays = judged((old, False), (point(0), True), collected=frozenset({"main"}))
    assert stays[old.id] == (DecisionReason(Why.ELSEWHERE, "other"),)


def test_a_copy_in_a_store_that_left_the_inventory_holds_nothing() -> None:
    old = point(40, copies=("main", "burnt"))
    assert old.id not in judged((old, False), (point(0), True))


def test_a_group_goes_whole_or_not_at_all() -> None:
    first, second = point(40, group="g1"), point(41, group="g1", source="scans", copies=("main",))
    newest = (point(0), True), (point(1, source="scans"), True)
    locks = {(second.id, "main"): NOW_NS + DAY}
    stays = judged((first, False), (second, False), *newest, locks=locks)
    assert stays[first.id] == (DecisionReason(Why.GROUP, "g1"),)
    stays = judged((first, False), (second, False), *newest)
    assert first.id not in stays
    assert second.id not in stays


# --- packs ------------------------------------------------------------------------------------------------------------

PACK, INDEX = b"p" + b"\x01" * 32, b"i" + b"\x02" * 32


def copy(pack: bytes = PACK, **changes: object) -> PackCopy:
    """A pack that was stored 30 days ago."""
    fields: dict[str, object] = {
        "store": "main",
        "domain": "db1",
        "pack": pack,
        "size": 1000,
        "stored_ns": NOW_NS - 30 * DAY,
        "session": "s1",
    }
    return PackCopy(**{**fields, **changes})  # type: ignore[arg-type]


def decision(one: PackCopy, needs: Needs | None = None, **rules: object) -> tuple[Act, DecisionReason]:
    fields: dict[str, object] = {"now_ns": NOW_NS, **rules}
    (found,) = decide_packs([one], needs or Needs({}), Rules(**fields))  # type: ignore[arg-type]
    return found.act, found.reason


def needing(*packs: bytes, **more: object) -> Needs:
    return Needs({"db1": set(packs)}, **more)  # type: ignore[arg-type]


GRACE_NS = COLLECT_GRACE.days * DAY
CONDEMNED = {"condemned_ns": NOW_NS - GRACE_NS}


def test_a_pack_that_a_record_names_stays_in_every_store() -> None:
    for store in BOTH:
        assert decision(copy(store=store), needing(PACK)) == (Act.STAY, DecisionReason(Why.NEEDED))
    assert decision(copy(domain="db2"), needing(PACK))[0] is Act.CONDEMN


def test_a_pack_in_no_record_is_condemned_once_it_is_older_than_the_grace() -> None:
    young = copy(stored_ns=NOW_NS - GRACE_NS + 1)
    assert decision(young) == (Act.STAY, DecisionReason(Why.YOUNG, until_ns=NOW_NS + 1))
    assert decision(copy(stored_ns=NOW_NS - GRACE_NS)) == (Act.CONDEMN, DecisionReason(Why.UNNEEDED))


def test_an_object_that_tells_no_age_is_never_condemned() -> None:
    assert decision(copy(stored_ns=0, known=False))[1].why is Why.YOUNG


def test_a_condemned_pack_is_erased_a_grace_later_and_not_before() -> None:
    waiting = copy(condemned_ns=NOW_NS - GRACE_NS + 1)
    assert decision(waiting) == (Act.STAY, DecisionReason(Why.CONDEMNED, until_ns=NOW_NS + 1))
    assert decision(copy(**CONDEMNED)) == (Act.ERASE, DecisionReason(Why.UNNEEDED))


def test_a_record_pardons_a_condemned_pack_at_any_time() -> None:
    assert decision(copy(**CONDEMNED), needing(PACK))[0] is Act.PARDON
    assert decision(copy(condemned_ns=NOW_NS), needing(PACK))[0] is Act.PARDON


@pytest.mark.parametrize("condemned", [{}, CONDEMNED])
def test_nothing_of_a_domain_goes_while_a_session_is_open_there(condemned: dict[str, int]) -> None:
    assert decision(copy(**condemned), busy={"db1": "s9"}) == (Act.STAY, DecisionReason(Why.BUSY, "s9"))
    assert decision(copy(**condemned), busy={"db2": "s9"})[0] is not Act.STAY


@pytest.mark.parametrize("condemned", [{}, CONDEMNED])
def test_a_record_that_can_not_be_read_keeps_its_domain_and_one_of_nobody_keeps_all(condemned: dict[str, int]) -> None:
    for domain in ("db1", ""):
        assert decision(copy(**condemned), Needs({}, unread={domain: "v1/r/x"})) == (
            Act.STAY,
            DecisionReason(Why.UNREAD, "v1/r/x"),
        )
    assert decision(copy(**condemned), Needs({}, unread={"db2": "v1/r/x"}))[0] is not Act.STAY


def test_a_locked_pack_is_condemned_so_early_that_it_can_go_when_its_lock_ends() -> None:
    long, soon = copy(locked_ns=NOW_NS + 40 * DAY), copy(locked_ns=NOW_NS + GRACE_NS)
    assert decision(long) == (Act.STAY, DecisionReason(Why.LOCKED, "main", NOW_NS + 40 * DAY))
    assert decision(soon)[0] is Act.CONDEMN
    ripe = copy(**CONDEMNED, locked_ns=NOW_NS + 1)
    assert decision(ripe) == (Act.STAY, DecisionReason(Why.LOCKED, "main", NOW_NS + 1))


def test_a_pack_that_is_mostly_unused_is_retired_once_and_never_erased() -> None:
    sparse, dense = {("db1", PACK): 499_000}, {("db1", PACK): 500_000}
    big = 1_000_000 + PACK_OVERHEAD
    assert decision(copy(size=big), needing(PACK, live=sparse)) == (Act.RETIRE, DecisionReason(Why.SPARSE, "50%"))
    assert decision(copy(size=big), needing(PACK, live=dense))[0] is Act.STAY
    assert decision(copy(size=big), needing(PACK))[0] is Act.STAY  # not counted
    assert decision(copy(size=big, retired_ns=1), needing(PACK, live=sparse))[0] is Act.STAY
    assert decision(copy(size=PACK_OVERHEAD), needing(PACK, live={("db1", PACK): 0}))[0] is Act.STAY  # nothing to gain


def test_an_index_stays_as_long_as_a_pack_of_its_session() -> None:
    rules = Rules(NOW_NS)
    decisions = decide_packs([copy(), copy(INDEX)], needing(PACK), rules)
    assert [each.reason.why for each in decisions] == [Why.NEEDED, Why.TELLS]
    decisions = decide_packs([copy(), copy(INDEX)], Needs({}), rules)
    assert [each.act for each in decisions] == [Act.CONDEMN, Act.CONDEMN]
    assert decide_packs([copy(INDEX, session="")], Needs({}), rules)[0].reason.why is Why.TELLS


def test_a_plan_counts_what_is_free_now_and_what_later() -> None:
    copies = [copy(**CONDEMNED), copy(store="other", size=10), copy(store="third", size=5, condemned_ns=NOW_NS - DAY)]
    plan = CollectPlan((), decide_packs(copies, Needs({}), Rules(NOW_NS)))
    assert (plan.freed, plan.freed_later, plan.nothing_to_do) == (1000, 15, False)
    assert CollectPlan((), (PackDecision(copy(), Act.STAY, DecisionReason(Why.NEEDED)),)).nothing_to_do


# --- locks ------------------------------------------------------------------------------------------------------------


def test_what_a_new_point_relies_on_is_locked_beyond_the_longest_session() -> None:
    assert lease_ns(NOW_NS, 400) == NOW_NS + 25 * 3600 * 1_000_000_000
    assert lease_ns(NOW_NS, 0) == 0


def test_a_lock_is_renewed_when_a_third_of_it_is_over() -> None:
    end = lock_end_ns(NOW_NS, 30)
    assert not lock_is_short(end, NOW_NS + 10 * DAY, 30)
    assert lock_is_short(end, NOW_NS + 10 * DAY + 1, 30)
    assert lock_is_short(0, NOW_NS, 30)
    assert not lock_is_short(0, NOW_NS, 0)
    assert lock_end_ns(NOW_NS, 0) == 0
