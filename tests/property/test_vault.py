"""Properties of the vault that no example list would cover."""

from __future__ import annotations

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from drbackup.vault.layout import digest_in_name
from drbackup.vault.tree import path_key
from drbackup.vault.write.chunker import CutSizes, Cutter, coarser, cut_fixed
from tests.support.cities.small_vault import SmallVault
from tests.support.doubles.memory_store import MemoryStore

SMALL_CUTS = CutSizes(64, 256, 1024)
names = st.binary(min_size=1, max_size=8).map(lambda raw: raw.replace(b"\0", b"_").replace(b"/", b"|"))
paths = st.lists(names, min_size=1, max_size=4).map(b"/".join)
blocks = st.lists(st.binary(max_size=3000), max_size=8)


@given(blocks)
def test_chunks_joined_are_the_stream(parts: list[bytes]) -> None:
    assert b"".join(Cutter(b"k" * 32, SMALL_CUTS).cut(parts)) == b"".join(parts)


@given(blocks, st.integers(1, 999))
def test_where_a_stream_is_cut_does_not_depend_on_how_it_was_read(parts: list[bytes], step: int) -> None:
    cutter = Cutter(b"k" * 32, SMALL_CUTS)
    whole = b"".join(parts)
    other = [whole[start : start + step] for start in range(0, len(whole), step)]
    assert list(cutter.cut(parts)) == list(cutter.cut(other))


@given(blocks, st.integers(1, 5000))
def test_fixed_blocks_have_their_size_but_the_last(parts: list[bytes], size: int) -> None:
    chunks = list(cut_fixed(parts, size))
    assert b"".join(chunks) == b"".join(parts)
    assert all(len(chunk) == size for chunk in chunks[:-1])


@given(blocks, st.integers(1, 200), st.integers(0, 20), st.integers(1, 50))
def test_a_very_long_stream_has_the_same_bytes_in_fewer_pieces(
    parts: list[bytes], size: int, fine: int, step: int
) -> None:
    chunks = list(cut_fixed(parts, size))
    joined = list(coarser(chunks, fine=fine, step=step))
    assert b"".join(joined) == b"".join(parts)
    assert joined[:fine] == chunks[:fine]


@given(st.lists(paths, min_size=2, max_size=2, unique=True))
def test_tree_order_is_the_order_of_components(pair: list[bytes]) -> None:
    first, second = pair
    assert (path_key(first) < path_key(second)) == (first.split(b"/") < second.split(b"/"))


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(paths, st.binary(max_size=2000), max_size=30), st.dictionaries(paths, st.binary(max_size=2000)))
def test_both_of_two_points_restore_exactly(first: dict[bytes, bytes], second: dict[bytes, bytes]) -> None:
    vault = SmallVault()
    roots = [vault.write(contents).root for contents in (first, second)]
    assert [vault.read(root) for root in roots] == [first, second]


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(paths, st.binary(max_size=2000), max_size=10))
def test_every_object_is_named_by_its_own_bytes(contents: dict[bytes, bytes]) -> None:
    store = MemoryStore()
    SmallVault(store).write(contents)
    for name, data in store.objects.items():
        assert digest_in_name(name) == hashlib.sha256(data).hexdigest()
