"""Contents are laid out so that each chunk is opened once, in bounded memory, and as it lies in the content."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drbackup.errors import ObjectCorrupt
from drbackup.vault.read import batches
from drbackup.vault.read.batches import ENOUGH, MOST_PARTS, PAGE, ROOM, Layout, Portion
from drbackup.vault.suite import MAX_CHUNK
from drbackup.vault.tree import Extent
from drbackup.wire.messages import Place


def place(number: int, raw: int) -> Place:
    return Place(number.to_bytes(32), bytes(32), number, number * 1000, raw + 16, raw)


def whole(number: int, raw: int) -> Extent:
    return Extent(place(number, raw), 0, raw)


def laid_out(contents: list[list[Extent]]) -> list[Portion[int]]:
    layout: Layout[int] = Layout()
    found = [portion for number, content in enumerate(contents) for portion in layout.add(number, content)]
    return [*found, layout.take()]


@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(1, MAX_CHUNK)), max_size=6), max_size=20))
def test_no_portion_exceeds_its_room_and_every_byte_is_given_once(contents: list[list[tuple[int, int]]]) -> None:
    extents = [[whole(1000 * number + raw, raw) for number, raw in content] for content in contents]
    found = laid_out(extents)
    assert all(portion.size <= ROOM for portion in found)
    given_bytes = dict.fromkeys(range(len(contents)), 0)
    for portion in found:
        ends = sorted((start, start + each.raw) for start, each in zip(portion.starts, portion.places, strict=True))
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ends))
        for part in portion.parts:
            assert part.offset == given_bytes[part.owner]
            given_bytes[part.owner] += sum(end - start for start, end in part.spans)
    assert list(given_bytes.values()) == [sum(raw for _, raw in content) for content in contents]


def test_a_portion_ends_where_no_chunk_is_shared() -> None:
    half = ENOUGH // 2
    shared = Extent(place(2, half), half // 2, half // 2)
    found = laid_out([[whole(1, half)], [Extent(place(2, half), 0, half // 2)], [shared], [shared], [whole(3, half)]])
    assert [[part.owner for part in portion.parts] for portion in found] == [[0, 1, 2, 3], [4]]


def test_a_large_content_is_one_span_in_each_portion_and_lies_in_pages_as_in_the_file() -> None:
    raw = 1_000_003  # no multiple of anything
    found = laid_out([[whole(100, 777)], [whole(number, raw) for number in range(20)]])
    large = [part for portion in found for part in portion.parts if part.owner == 1]
    assert len(large) > 3
    assert all(len(part.spans) == 1 for part in large)
    assert all(part.spans[0][0] % PAGE == part.offset % PAGE for part in large)
    assert [part.number for part in large] == list(range(len(large)))
    assert [part.last for part in large] == [False] * (len(large) - 1) + [True]


def test_empty_contents_end_portions_too() -> None:
    found = laid_out([[] for _ in range(2 * MOST_PARTS)])
    assert [len(portion.parts) for portion in found] == [MOST_PARTS, MOST_PARTS]


def test_one_chunk_used_for_ever_does_not_fill_a_portion_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_GIVEN", 10_000)
    found = laid_out([[whole(1, 1000)] * 100])
    assert all(portion.given <= 10_000 for portion in found)
    assert all(len(portion.places) == 1 for portion in found)


@pytest.mark.parametrize(("start", "length"), [(-1, 5), (0, 11), (10, 1), (0, -1)])
def test_an_extent_outside_its_chunk_is_refused(start: int, length: int) -> None:
    with pytest.raises(ObjectCorrupt, match="outside"):
        laid_out([[Extent(place(1, 10), start, length)]])


@pytest.mark.parametrize(
    "changed",
    [{"raw": MAX_CHUNK + 1}, {"raw": -1}, {"size": -1}, {"size": 1 << 40}, {"offset": 1 << 40}, {"ordinal": -1}],
)
def test_a_place_that_no_writer_makes_is_refused_before_memory_is_taken(changed: dict[str, int]) -> None:
    facts = {"id": bytes(32), "pack": bytes(32), "ordinal": 0, "offset": 0, "size": 26, "raw": 10, **changed}
    with pytest.raises(ObjectCorrupt):
        laid_out([[Extent(Place(**facts), 0, 1)]])  # type: ignore[arg-type]
