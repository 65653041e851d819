"""A tree that an enemy sealed soundly, whose places and extents lie: no reader crashes, hangs or gives wrong bytes.

A department's server makes its own trees, so every number in one may be an enemy's. What is restored has the digest its
entry says, or is refused.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drbackup.errors import DrbackupError
from drbackup.vault.pack import PackBuilder, SessionKey
from drbackup.vault.suite import chunk_id
from drbackup.vault.tree import Entry, EntryKind, PageRef, Root, encode_page
from drbackup.wire.messages import Place
from drbackup_agent.sources.base import Watch
from drbackup_agent.sources.files.restore import folder_request, restore_folder
from tests.property.hostile_bytes import with_another_value
from tests.property.test_decoders import EXAMPLES, memory
from tests.support.cities.small_vault import SmallVault
from tests.support.doubles.memory_store import MemoryStore

encode = msgspec.msgpack.encode
CONTENTS = {
    b"a": b"alpha" * 900,
    b"b": bytes(300_000),
    b"c": random.Random(1).randbytes(90_000),
    b"d": b"",
    b"e": b"alpha" * 900 + b"!",
    b"f/g": random.Random(2).randbytes(70_000),
}
NUMBERS = (0, 1, 15, 16, 4095, 4096, 1 << 24, (1 << 24) + 1, 1 << 31, 1 << 32, 1 << 40, 1 << 62, (1 << 64) - 1)


@cache
def honest() -> tuple[SmallVault, tuple[Entry, ...]]:
    """A vault with the data packs, and the true entries."""
    vault = SmallVault()
    with vault.writer() as writer:
        for path, data in CONTENTS.items():
            content = writer.small(data) if len(data) < 5000 else writer.stream([data], fixed=40_000)
            writer.add(Entry(path, EntryKind.FILE, 0o640, size=len(data)), content)
        written = writer.finish()
    return vault, tuple(vault.reader(written.root).entries())


def sealed_tree(page: bytes, entries: int) -> tuple[MemoryStore, bytes]:
    """A store with the honest data and a tree of this page, in packs that open."""
    vault, _ = honest()
    store = MemoryStore()
    store.objects = dict(vault.store.objects)  # type: ignore[attr-defined]
    place = _put(store, page)
    top = _put(store, encode([PageRef(b"a", place)]))
    return store, encode(Root(top, entries, entries, -1, 1, 2))


def _put(store: MemoryStore, plain: bytes) -> Place:
    vault, _ = honest()
    builder = PackBuilder(SessionKey.new("t", vault.domain_keys), memory())
    name = chunk_id(b"k" * 32, plain)
    builder.add(name, len(plain), plain)
    pack, data = builder.finish()
    store.put(f"v1/d/{vault.domain}/t/{pack.hex()}", bytes(data))
    return Place(name, pack, 0, builder.offsets[0], builder.rows[0].size, len(plain))


@st.composite
def lying_pages(draw: st.DrawFn) -> bytes:
    """The true page with some lies in it."""
    chosen = random.Random(draw(st.integers(0, 2**32)))
    entries: list[Any] = msgspec.msgpack.decode(encode_page(honest()[1]))
    for _ in range(draw(st.integers(1, 3))):
        entry = chosen.choice([entry for entry in entries if entry[15]])
        _lie(entry, chosen)
    if draw(st.integers(0, 4)) == 0:
        return with_another_value(encode(entries), chosen)
    return encode(entries)


def _lie(entry: list[Any], chosen: random.Random) -> None:
    extents = entry[15]
    extent = chosen.choice(extents)
    place = extent[0]
    match chosen.randrange(8):
        case 0:  # a place's number, offset, size or raw size, by a little
            place[at] = place[at := chosen.randrange(2, 6)] + chosen.choice([-1, 1, 16, -16])
        case 1:  # or altogether
            place[chosen.randrange(2, 6)] = chosen.choice(NUMBERS) * chosen.choice([1, 1, 1, -1]) % 2**64
        case 2:  # an extent's begin or length
            extent[chosen.randrange(1, 3)] = chosen.choice([-1, -(2**63), *NUMBERS])
        case 3:  # another chunk's place, or its name alone
            other = chosen.choice([each for e in honest_lists() for each in e[15]])[0]
            if chosen.random() < 0.5:
                extent[0] = other
            else:
                place[chosen.randrange(2)] = other[chosen.randrange(2)]
        case 4:  # the same extents again and again
            entry[15] = extents * chosen.choice([2, 50, 400])
        case 5:  # in another order, or some of them only
            chosen.shuffle(extents)
            del extents[chosen.randrange(len(extents) + 1) :]
        case 6:  # sizes and holes
            entry[9] = chosen.choice([-1, *NUMBERS])
            entry[16] = [[chosen.choice(NUMBERS), chosen.choice(NUMBERS)] for _ in range(chosen.randrange(3))]
        case _:  # no digest to be held against, or a wrong one
            entry[13] = chosen.choice([b"", b"x", bytes(32)])


@cache
def honest_lists() -> list[Any]:
    return list(msgspec.msgpack.decode(encode_page(honest()[1])))


def true_or_unproven(entry: Entry, data: bytes) -> bool:
    return not entry.digest or blake3(data).digest() == entry.digest


@settings(
    deadline=None, max_examples=EXAMPLES, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
@given(lying_pages(), st.sampled_from([1, 1 << 30]))
def test_a_reader_of_lying_places_gives_true_bytes_or_refuses(page: bytes, alone: int) -> None:
    store, root = sealed_tree(page, len(CONTENTS))
    vault = SmallVault(store, keys=honest()[0].keys)
    reader = vault.reader(root, alone=alone)
    with suppress(DrbackupError):
        for entry in reader.entries():
            with suppress(DrbackupError):
                data = b"".join(_at_most(reader.content(entry)))
                assert true_or_unproven(entry, data)


def _at_most(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Without an end, a content of the same extents may be as long as its numbers say."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > 64 << 20:
            raise DrbackupError("long enough")
        yield piece


@settings(
    deadline=None, max_examples=EXAMPLES, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
@given(lying_pages())
def test_a_restore_of_lying_places_writes_true_files_or_none(page: bytes) -> None:
    store, root = sealed_tree(page, len(CONTENTS))
    vault = SmallVault(store, keys=honest()[0].keys)
    reader = vault.reader(root)
    with TemporaryDirectory() as home:
        target = Path(home) / "out"
        with suppress(DrbackupError):
            restore_folder(reader, folder_request(str(target), "b2" * 32), Watch())
        entries: list[Entry] = []
        with suppress(DrbackupError):
            entries = list(vault.reader(root).entries())
        for entry in entries:
            with suppress(OSError, ValueError):
                path = target / entry.path.decode("utf-8", "surrogateescape")
                if (
                    path.is_file()
                    and entry.kind == EntryKind.FILE
                    and not entry.holes
                    and path.stat().st_size < 1 << 26
                ):
                    assert true_or_unproven(entry, path.read_bytes())


def test_the_true_page_restores() -> None:
    """The two above prove nothing unless the unaltered tree is read by them."""
    store, root = sealed_tree(encode_page(honest()[1]), len(CONTENTS))
    reader = SmallVault(store, keys=honest()[0].keys).reader(root)
    assert {entry.path: b"".join(reader.content(entry)) for entry in reader.entries()} == CONTENTS
