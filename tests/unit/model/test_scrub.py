"""A rolling scrub reads every byte within its time, whatever is added, skipped or killed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from drbackup.model.scrub import SLICE, Copy, next_slice

NOW = datetime(2026, 11, 23, tzinfo=UTC)
DAY = timedelta(days=1)


def copy(number: int, size: int = 10, stored: float = 0, read: float | None = None) -> Copy:
    """``stored`` and ``read``: days before now."""
    read_at = None if read is None else NOW - read * DAY
    return Copy(number, "db1", b"p" + number.to_bytes(32, "big"), size, NOW - stored * DAY, read_at)


def chosen(copies: Iterable[Copy], days: float = 30) -> list[int]:
    return [each.number for each in next_slice(copies, now=NOW, within=days * DAY)]


def test_what_would_be_late_before_the_next_slice_comes_first_whatever_it_costs() -> None:
    copies = [copy(1, stored=40, read=1), copy(2, 1000, stored=29.5), copy(3, 1000, stored=50, read=29.1), copy(4)]
    assert chosen(copies)[:2] == [2, 3]


def test_then_new_ones_then_the_longest_unread_up_to_the_days_share() -> None:
    old = [copy(number, stored=40, read=number) for number in range(1, 28)]
    fresh = [copy(100 + number, stored=1) for number in range(3)]
    assert chosen([*old, *fresh], days=6 * 30 / 30 + 24) == [100]  # 30 copies, a thirtieth a day
    assert chosen([*old[:12], *fresh], days=3 * 10)[:1] == [100]
    assert chosen([*old[:12], *fresh], days=14) == [100, 101]
    assert chosen(old[:12], days=20) == [12]


def test_an_empty_store_has_nothing_to_read_and_one_day_means_everything() -> None:
    assert chosen([]) == []
    assert sorted(chosen([copy(number) for number in range(5)], days=1)) == list(range(5))


@given(
    sizes=st.lists(st.integers(0, 100), min_size=1, max_size=40),
    days=st.integers(1, 12),
    skipped=st.sets(st.integers(0, 40)),
    killed=st.dictionaries(st.integers(0, 40), st.integers(0, 5)),
)
def test_every_byte_is_read_within_the_days_unless_slices_are_skipped(
    sizes: list[int], days: int, skipped: set[int], killed: dict[int, int]
) -> None:
    """Some arrive later; a skipped day reads nothing, a killed one only its beginning. Then what is late is what no
    slice was there to read, and the first whole slice reads all of it."""
    copies: dict[int, Copy] = {}
    whole_since = 0  # days without a skipped or killed slice up to now
    for today in range(40):
        now = NOW + today * SLICE
        for number in range(len(sizes)):
            if number % 7 == today % 7 and number not in copies:
                copies[number] = replace(copy(number, sizes[number]), stored_at=now)
        plan = next_slice(copies.values(), now=now, within=days * DAY)
        done = () if today in skipped else plan[: killed.get(today, len(plan))]
        whole_since = whole_since + 1 if len(done) == len(plan) else 0
        for each in done:
            copies[each.number] = replace(each, read_at=now)
        if whole_since >= 1:
            assert all(each.known_whole > now + SLICE - days * DAY for each in copies.values() if days > 1)
        if today not in skipped and today not in killed:
            mean = sum(each.size for each in copies.values()) / days
            late = sum(each.size for each in plan if each.known_whole + days * DAY <= now + SLICE)
            assert sum(each.size for each in plan) <= max(late, mean + max(sizes))
