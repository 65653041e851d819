"""Reading ahead gives the bytes that are there, however chunks lie in packs and contents in chunks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drbackup.errors import ObjectCorrupt
from drbackup.vault.keys import Keyring
from drbackup.vault.layout import DATA, pack_name
from drbackup.vault.pack import BUFFER_SIZE, PackBuilder, SessionKey
from drbackup.vault.read import batches, ranges, read_ahead
from drbackup.vault.read.batches import Part
from drbackup.vault.read.demand import Demand
from drbackup.vault.read.read_ahead import DataPacks, ReadAhead
from drbackup.vault.tree import Extent
from drbackup.wire.messages import Place
from tests.support.cities.small_vault import SmallVault

VAULT = SmallVault()
KEY = SessionKey.new(DATA, VAULT.domain_keys)
RING = Keyring([VAULT.keys["drill"]])
BUFFER = memoryview(bytearray(BUFFER_SIZE))  # one builder at a time
Content = list[tuple[int, int, int]]  # chunk, start and length in per mille of it


class Packs:
    """Packs made by hand: ``sizes`` are the chunks' lengths, ``breaks`` says behind which a new pack begins."""

    def __init__(self, sizes: list[int], breaks: list[bool], stretch: int) -> None:
        self.stretch = stretch
        self.stored: dict[str, bytes] = {}
        self.chunks: list[bytes] = []
        self.places: list[Place] = []
        self.asked: list[tuple[int, int]] = []
        rows: list[tuple[bytes, bytes]] = []
        for number, size in enumerate(sizes):
            plain = blake3(number.to_bytes(4)).digest(length=size)
            self.chunks.append(plain)
            rows.append((blake3(plain + bytes([number % 256])).digest(), plain))
            if breaks[number % len(breaks)] or number == len(sizes) - 1:
                self._close(rows)
                rows = []

    def _close(self, rows: list[tuple[bytes, bytes]]) -> None:
        builder = PackBuilder(KEY, BUFFER)
        for name, plain in rows:
            builder.add(name, len(plain), plain)
        name, data = builder.finish()
        self.stored[pack_name(VAULT.domain, DATA, name)] = bytes(data)
        self.places += [
            Place(row.id, name, number, offset, row.size, row.raw)
            for number, (row, offset) in enumerate(zip(builder.rows, builder.offsets, strict=True))
        ]

    def fetch(self, kind: str, domain: str, pack: bytes, offset: int, length: int) -> bytes:
        self.asked.append((offset, length))
        return self.stored[pack_name(domain, kind, pack)][offset : offset + length]

    def extents(self, content: Content) -> list[Extent]:
        found = []
        for chunk, start, length in content:
            place = self.places[chunk % len(self.places)]
            begin = place.raw * start // 1000
            found.append(Extent(place, begin, (place.raw - begin) * length // 1000))
        return found

    def expected(self, content: Content) -> bytes:
        pieces = zip(content, self.extents(content), strict=True)
        return b"".join(
            self.chunks[chunk % len(self.chunks)][extent.start : extent.start + extent.length]
            for (chunk, _, _), extent in pieces
        )


class Taker:
    """Puts parts together, whatever order they come in."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self.parts: dict[int, dict[int, tuple[int, bytes]]] = {}
        self.counts: dict[int, int] = {}

    def take(self, part: Part[int], memory: memoryview) -> None:
        joined = b"".join(bytes(memory[start:end]) for start, end in part.spans)
        with self._mutex:
            assert part.number not in self.parts.setdefault(part.owner, {})
            self.parts[part.owner][part.number] = (part.offset, joined)
            if part.last:
                self.counts[part.owner] = part.number + 1

    def content(self, owner: int) -> bytes:
        parts = self.parts[owner]
        assert set(parts) == set(range(self.counts[owner]))
        whole = b""
        for number in range(len(parts)):
            offset, joined = parts[number]
            assert offset == len(whole)
            whole += joined
        return whole


@contextmanager
def small_bounds(enough: int, kept: int, gaps: int, spare: int = 0) -> Iterator[None]:
    """Bounds that small contents reach too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "ENOUGH", enough)
        patch.setattr(batches, "ROOM", enough + 30_000)
        patch.setattr(batches, "MOST_GIVEN", 8 * enough)
        patch.setattr(batches, "MOST_PARTS", 3)
        patch.setattr(read_ahead, "FETCHED", kept)
        patch.setattr(read_ahead, "PORTIONS_AHEAD", 4)
        patch.setattr(read_ahead, "PLANNED", 6)
        patch.setattr(ranges, "GAPS", gaps)
        patch.setattr(ranges, "SPARE", spare)
        yield


def read(
    packs: Packs,
    wanted: list[Content],
    take: Callable[[Part[int], memoryview], None],
    demand: Demand | None = None,
) -> int:
    """The most bytes that were kept, or set aside for it, of what nobody needed soon."""
    most = 0
    with ReadAhead(DataPacks(packs, RING, VAULT.domain), take, demand=demand) as ahead:
        for number, content in enumerate(wanted):
            ahead.add(number, packs.extents(content))
            most = max(most, ahead.spare)
        ahead.drain()
    return max(most, ahead.spare)


contents = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 1000), st.integers(0, 1000)), max_size=12)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    sizes=st.lists(st.integers(0, 20_000), min_size=1, max_size=30),
    breaks=st.lists(st.booleans(), min_size=1, max_size=7),
    wanted=st.lists(contents, max_size=12),
    stretch=st.sampled_from([1, 4096, 20_000, 1 << 20]),
    kept=st.sampled_from([1, 30_000, 1 << 20]),
    gaps=st.sampled_from([1, 10, 1 << 30]),
)
def test_contents_come_back_whole_from_any_layout(
    sizes: list[int], breaks: list[bool], wanted: list[Content], stretch: int, kept: int, gaps: int
) -> None:
    packs = Packs(sizes, breaks, stretch)
    taker = Taker()
    with small_bounds(10_000, kept, gaps), ReadAhead(DataPacks(packs, RING, VAULT.domain), taker.take) as ahead:
        for number, content in enumerate(wanted):
            ahead.add(number, packs.extents(content))
            if number % 5 == 4:
                ahead.drain()
                assert taker.counts.keys() == set(range(number + 1))
        ahead.drain()
    for number, content in enumerate(wanted):
        assert taker.content(number) == packs.expected(content)


def foreseen(packs: Packs, wanted: list[Content]) -> Demand:
    demand = Demand()
    for content in wanted:
        demand.add(packs.extents(content))
    return demand


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    sizes=st.lists(st.integers(0, 20_000), min_size=1, max_size=30),
    breaks=st.lists(st.booleans(), min_size=1, max_size=7),
    wanted=st.lists(contents, max_size=12),
    expected=st.lists(contents, max_size=12),
    stretch=st.sampled_from([4096, 20_000, 1 << 20]),
    bounds=st.tuples(st.sampled_from([1, 30_000, 1 << 20]), st.sampled_from([0, 5000, 60_000, 1 << 20])),
)
def test_contents_come_back_whole_however_much_of_them_was_foreseen(
    sizes: list[int],
    breaks: list[bool],
    wanted: list[Content],
    expected: list[Content],
    stretch: int,
    bounds: tuple[int, int],
) -> None:
    packs = Packs(sizes, breaks, stretch)
    for demand in (foreseen(packs, wanted), foreseen(packs, expected), foreseen(packs, wanted[::2] + expected)):
        taker = Taker()
        with small_bounds(10_000, bounds[0], 10, bounds[1]):
            most = read(packs, wanted, taker.take, demand)
        assert most <= bounds[1]
        for number, content in enumerate(wanted):
            assert taker.content(number) == packs.expected(content)


def interleaved(packs: int, chunks: int) -> list[Content]:
    """Contents of the second pack's chunks all along those of the others, and each pack's first chunk once more."""
    second = [[(chunks + number, 0, 1000)] for number in range(chunks)]
    others = [[(number, 0, 1000)] for number in (*range(chunks), *range(2 * chunks, packs * chunks))]
    step = len(others) // chunks
    mixed = [
        each for number in range(chunks) for each in (*others[number * step : (number + 1) * step], second[number])
    ]
    return mixed + [[(number * chunks, 0, 1000)] for number in range(packs)]


def test_a_pack_that_is_wanted_all_along_is_fetched_once() -> None:
    packs = Packs([9000] * 200, [False] * 19 + [True], 1 << 20)
    wanted, taker = interleaved(10, 20), Taker()
    with small_bounds(20_000, 400_000, 10, 400_000):
        read(packs, wanted, taker.take, foreseen(packs, wanted))
    assert len(packs.asked) == len(packs.stored) == 10
    assert all(taker.content(number) == packs.expected(content) for number, content in enumerate(wanted))


@settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
@given(
    sizes=st.lists(st.integers(1, 20_000), min_size=1, max_size=30),
    wanted=st.lists(contents.filter(bool), min_size=1, max_size=8),
    damaged=st.integers(0, 1 << 20),
    stretch=st.sampled_from([1, 20_000, 1 << 20]),
)
def test_a_damaged_pack_gives_an_error_and_no_wrong_byte(
    sizes: list[int], wanted: list[Content], damaged: int, stretch: int
) -> None:
    packs = Packs(sizes, [False, True, False], stretch)
    name = sorted(packs.stored)[damaged % len(packs.stored)]
    data = bytearray(packs.stored[name])
    data[damaged % len(data)] ^= 1
    packs.stored[name] = bytes(data)
    taker = Taker()
    try:
        with small_bounds(10_000, 30_000, 1 << 30):
            read(packs, wanted, taker.take)
    except ObjectCorrupt:
        whole = [number for number, count in taker.counts.items() if len(taker.parts[number]) == count]
    else:
        whole = list(range(len(wanted)))  # the damage is where nobody looked
    for number in whole:
        assert taker.content(number) == packs.expected(wanted[number])


def test_what_fails_while_taking_is_raised_to_the_owner_and_stops_the_others() -> None:
    packs = Packs([5000] * 20, [True], 1 << 20)

    def take(part: Part[int], memory: memoryview) -> None:
        if part.owner >= 3:
            raise ObjectCorrupt("the third is bad")

    with small_bounds(1, 1 << 20, 1 << 30), pytest.raises(ObjectCorrupt, match="third"):
        read(packs, [[(number, 0, 1000)] for number in range(20)], take)


def test_leaving_early_stops_everybody() -> None:
    packs = Packs([5000] * 20, [True], 1 << 20)
    before = threading.active_count()
    with ReadAhead(DataPacks(packs, RING, VAULT.domain), Taker().take) as ahead:
        for number in range(20):
            ahead.add(number, packs.extents([(number, 0, 1000)]))
        ahead.begin()
    assert threading.active_count() == before


def test_chunks_side_by_side_are_fetched_by_one_request() -> None:
    packs = Packs([9000] * 50, [False], 1 << 20)
    read(packs, [[(number, 0, 1000)] for number in range(50)], Taker().take)
    assert len(packs.asked) == 1


def test_a_chunk_that_many_contents_share_is_fetched_and_opened_once() -> None:
    packs = Packs([9000], [False], 1 << 20)
    taker = Taker()
    read(packs, [[(0, number, 1000)] * 3 for number in range(300)], taker.take)
    assert len(packs.asked) <= 2  # the header may be asked for apart
    assert all(taker.content(number) == packs.expected([(0, number, 1000)] * 3) for number in range(300))
