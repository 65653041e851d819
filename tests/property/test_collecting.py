"""Whatever the points, records, packs, locks and clocks: nothing that a retained record names ever goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from drbackup.model.collect import Act, Needs, PackCopy, PointContext, Rules, decide_packs, decide_points
from drbackup.model.point import Point, Rung
from drbackup.model.policy import KeepPolicy
from drbackup.model.retention import decide_retention
from tests.property.test_retention import NOW, keeps, point_lists

NOW_NS = int(NOW.timestamp()) * 1_000_000_000
DAY = 86_400 * 1_000_000_000
STORES = ("main", "other", "third")
PACKS = [kind + bytes([number]) * 32 for kind in (b"p", b"t", b"i") for number in range(4)]
stores = st.frozensets(st.sampled_from(STORES))
instants = st.one_of(st.just(0), st.integers(NOW_NS - 60 * DAY, NOW_NS + 60 * DAY))


@st.composite
def vaults(draw: st.DrawFn, points: list[Point]) -> tuple[list[Point], PointContext]:
    """Points with copies, and the stores and locks they are judged by."""
    placed = []
    locks = {}
    for point in points:
        copies = tuple(sorted(draw(stores)))
        fields = {name: getattr(point, name) for name in Point.__slots__}
        placed.append(Point(**{**fields, "copies": copies}))
        locks.update({(point.id, store): draw(instants) for store in copies})
    return placed, PointContext(NOW_NS, draw(stores), draw(stores), locks)


@given(st.data(), keeps)
def test_no_point_goes_that_is_held_or_newest_or_kept_or_locked_or_of_a_kept_group(
    data: st.DataObject, keep: KeepPolicy
) -> None:
    points, ground = data.draw(vaults(data.draw(point_lists())))
    retention = decide_retention(points, keep, NOW)
    decisions = decide_points((*retention.keep, *retention.drop), ground)
    going = {decision.point.id for decision in decisions if decision.goes}
    assert {decision.point.id for decision in decisions} == {point.id for point in points}
    assert not going & {ruling.point.id for ruling in retention.keep}
    assert not going & {point.id for point in points if point.held}
    for source in {point.source for point in points}:
        some = [point for point in points if point.source == source]
        assert max(some, key=lambda point: point.committed_at).committed_at in {
            point.committed_at for point in some if point.id not in going
        }
        for rung in Rung:
            proven = [point for point in some if point.rung >= rung]
            assert not proven or any(point.id not in going for point in proven)
    for point in points:
        if point.id in going:
            here = set(point.copies) & ground.stores
            assert here <= ground.collected
            assert all(ground.locks[point.id, store] <= NOW_NS for store in here)
            assert not any(other.group == point.group for other in points if point.group and other.id not in going)


copies = st.builds(
    PackCopy,
    store=st.sampled_from(STORES),
    domain=st.sampled_from(["db1", "db2"]),
    pack=st.sampled_from(PACKS),
    size=st.integers(0, 50_000),
    stored_ns=instants,
    session=st.sampled_from(["", "s1", "s2"]),
    locked_ns=instants,
    retired_ns=instants,
    condemned_ns=instants,
    known=st.booleans(),
)
domains = st.sampled_from(["db1", "db2"])
needs = st.builds(
    Needs,
    packs=st.dictionaries(domains, st.frozensets(st.sampled_from(PACKS))),
    live=st.dictionaries(st.tuples(domains, st.sampled_from(PACKS)), st.integers(0, 5000)),
    unread=st.dictionaries(st.sampled_from(["", "db1", "db2"]), st.just("v1/r/x"), max_size=1),
)
rules = st.builds(
    Rules,
    now_ns=st.just(NOW_NS),
    grace=st.integers(2, 20).map(lambda days: timedelta(days=days)),
    busy=st.dictionaries(domains, st.just("s9"), max_size=1),
)


@given(st.lists(copies), needs, rules)
def test_no_pack_is_condemned_or_erased_that_a_record_names_or_may_name(
    every: list[PackCopy], needed: Needs, by: Rules
) -> None:
    decisions = decide_packs(every, needed, by)
    assert [decision.copy for decision in decisions] == every
    for decision in decisions:
        copy = decision.copy
        if decision.act in (Act.CONDEMN, Act.ERASE):
            assert copy.pack not in needed.packs.get(copy.domain, frozenset())
            assert copy.domain not in needed.unread
            assert "" not in needed.unread
            assert copy.domain not in by.busy
        if decision.act is Act.ERASE:
            assert copy.condemned_ns
            assert copy.condemned_ns + by.grace_ns <= NOW_NS
            assert copy.locked_ns <= NOW_NS
        if decision.act is Act.CONDEMN:
            assert not copy.condemned_ns
            assert copy.stored_ns
            assert copy.stored_ns + by.grace_ns <= NOW_NS
        if decision.act in (Act.PARDON, Act.RETIRE):
            assert copy.pack in needed.packs[copy.domain]


@given(st.lists(copies), needs, rules)
def test_a_plan_that_was_followed_leaves_only_what_time_or_records_will_free(
    every: list[PackCopy], needed: Needs, by: Rules
) -> None:
    """Nothing is forgotten: much later, without sessions and unreadable records, every unneeded pack is on its way."""
    free = Needs(needed.packs)
    later = Rules(NOW_NS + 400 * DAY, by.grace)
    for decision in decide_packs(every, free, later):
        copy = decision.copy
        unneeded = copy.pack not in needed.packs.get(copy.domain, frozenset())
        if unneeded and copy.kind != "i" and (copy.stored_ns or copy.condemned_ns):
            assert decision.act in (Act.CONDEMN, Act.ERASE)


def test_now_is_the_same_instant_in_both_forms() -> None:
    assert datetime.fromtimestamp(NOW_NS / 1e9, UTC) == NOW
