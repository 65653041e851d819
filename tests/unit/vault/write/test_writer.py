"""Writing and reading points: what goes in comes out, once, and damage is named."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence

import msgspec
import pytest
import zstandard

from drbackup.errors import FormatUnsupported, HostUnsuitable, ObjectCorrupt, RestoreMismatch, StoreFull
from drbackup.vault.pack import unpack
from drbackup.vault.store_access import StoreDestination
from drbackup.vault.tree import Entry, EntryKind, Extent, Root, encode_page, weight
from drbackup.vault.write.pack_sink import BATCH_CHUNKS
from drbackup.vault.write.writer import PointWriter
from drbackup.wire.messages import Place
from tests.support.cities.small_vault import SmallVault
from tests.support.doubles.memory_store import MemoryStore


def city(seed: int = 1, files: int = 400) -> dict[bytes, bytes]:
    chance = random.Random(seed)
    contents = {b"d%02d/f%04d" % (n % 9, n): chance.randbytes(chance.randint(0, 9000)) for n in range(files)}
    contents[b"big"] = chance.randbytes(6 << 20) + b"ledger line\n" * 200_000
    return contents


def test_every_byte_comes_back() -> None:
    vault, contents = SmallVault(), city()
    assert vault.read(vault.write(contents).root) == contents


def test_a_second_run_over_the_same_data_stores_nothing() -> None:
    vault, contents = SmallVault(), city()
    first = vault.write(contents)
    second = vault.write(contents)
    assert (second.new_bytes, second.stored_bytes) == (0, 0)
    assert second.packs == first.packs


def test_one_changed_file_costs_about_its_own_segment() -> None:
    vault, contents = SmallVault(), city()
    vault.write(contents)
    contents[b"d03/f0102"] = b"changed"
    assert vault.write(contents).new_bytes < 3 << 20


def test_a_removed_file_among_small_ones_costs_a_few_segments() -> None:
    vault, chance = SmallVault(), random.Random(11)
    scans = {b"scan%03d" % number: chance.randbytes(60_000) for number in range(300)}
    vault.write(scans)
    del scans[b"scan100"]
    assert vault.write(scans).new_bytes < 5 << 20


def test_an_insertion_into_a_big_stream_costs_a_few_chunks() -> None:
    vault, contents = SmallVault(), {b"big": random.Random(3).randbytes(24 << 20)}
    vault.write(contents)
    data = contents[b"big"]
    again = vault.write({b"big": data[: 9 << 20] + b"inserted" + data[9 << 20 :]})
    assert again.new_bytes < 9 << 20


def test_the_same_content_twice_in_one_run_is_stored_once() -> None:
    vault, data = SmallVault(), random.Random(5).randbytes(3 << 20)
    written = vault.write({b"a": data, b"b": data})
    assert written.content_bytes == 6 << 20
    assert written.new_bytes == 3 << 20
    assert vault.read(written.root) == {b"a": data, b"b": data}


def test_streams_from_several_threads_keep_their_own_bytes() -> None:
    vault = SmallVault()
    data = {b"t%d" % n: random.Random(n).randbytes(2 << 20) for n in range(6)}
    with vault.writer() as writer:
        contents = {}

        def copy(path: bytes) -> None:
            contents[path] = writer.stream([data[path][:1000], data[path][1000:]])

        threads = [threading.Thread(target=copy, args=(path,)) for path in data]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for path in sorted(data):
            writer.add(Entry(path, EntryKind.FILE), contents[path])
        written = writer.finish()
    assert vault.read(written.root) == data


def test_a_single_file_is_found_without_reading_the_rest() -> None:
    vault = SmallVault()
    contents = {b"d%03d/f%05d" % (n // 50, n): b"%d" % n for n in range(9000)}
    reader = vault.reader(vault.write(contents).root)
    entry = reader.find(b"d100/f05001")
    assert entry is not None
    assert b"".join(reader.content(entry)) == b"5001"
    assert reader.find(b"d100/none") is None
    assert [entry.path for entry in reader.entries(b"d007")] == sorted(p for p in contents if p.startswith(b"d007/"))


def test_folders_are_followed_by_what_they_contain() -> None:
    vault = SmallVault()
    contents = {b"a": b"1", b"a/b": b"2", b"a-": b"3", b"a/b/c": b"4"}
    assert list(vault.read(vault.write(contents).root)) == [b"a", b"a/b", b"a/b/c", b"a-"]


def test_entries_out_of_order_are_a_defect_that_shows_at_once() -> None:
    vault = SmallVault()
    with vault.writer() as writer:
        writer.add(Entry(b"b", EntryKind.DIR))
        with pytest.raises(ValueError, match="not in tree order"):
            writer.add(Entry(b"a", EntryKind.DIR))
        writer.finish()


def test_kept_content_is_referred_to_and_not_read() -> None:
    vault, contents = SmallVault(), city(files=40)
    first = vault.write(contents)
    reader = vault.reader(first.root)
    with vault.writer() as writer:
        for entry in reader.entries():
            writer.keep(entry)
        second = writer.finish()
    assert second.new_bytes == 0
    assert vault.read(second.root) == contents


@pytest.mark.parametrize("position", [0.1, 0.5, 0.9])
def test_a_flipped_byte_in_any_pack_is_never_restored(position: float) -> None:
    store = MemoryStore()
    vault = SmallVault(store)
    written = vault.write({b"big": random.Random(1).randbytes(1 << 20)})
    for name in [name for name in store.objects if "/p/" in name]:
        data = bytearray(store.objects[name])
        data[int(len(data) * position)] ^= 1
        store.objects[name] = bytes(data)
    with pytest.raises(ObjectCorrupt, match="/p/"):
        vault.read(written.root)


def test_content_that_does_not_match_its_digest_is_not_called_restored() -> None:
    vault = SmallVault()
    with vault.writer() as writer:
        content = writer.stream([b"what was really read"])
        content.digest = bytes(32)
        writer.add(Entry(b"a", EntryKind.FILE), content)
        written = writer.finish()
    with pytest.raises(RestoreMismatch):
        vault.read(written.root)


class FullDestination(StoreDestination):
    """Takes one pack, then the store is full."""

    packs = 0

    def put(self, kind: str, pack: bytes, data: bytes | memoryview, places: Sequence[Place]) -> None:
        self.packs += 1
        if self.packs > 1:
            raise StoreFull("no room")
        super().put(kind, pack, data, places)


def fill(vault: SmallVault) -> None:
    chance = random.Random(2)
    with PointWriter(FullDestination(vault.store, vault.domain), vault.domain_keys) as writer:
        for number in range(40):
            content = writer.stream([chance.randbytes(4 << 20)])
            writer.add(Entry(b"%03d" % number, EntryKind.FILE), content)
        writer.finish()


def test_a_full_store_ends_the_run_with_its_own_error_and_no_hang() -> None:
    with pytest.raises(StoreFull):
        fill(SmallVault())


def test_more_entries_than_a_batch_of_chunks_settle_in_order() -> None:
    vault = SmallVault()
    contents = {b"%06d" % number: random.Random(number).randbytes(300) for number in range(BATCH_CHUNKS * 12)}
    written = vault.write(contents)
    assert written.entries == len(contents)
    assert vault.read(written.root) == contents


def pieces(count: int) -> tuple[Extent, ...]:
    """Places that are as long as places get, of a file that nobody has room for."""
    chance = random.Random(count)
    pack = chance.randbytes(32)
    return tuple(
        Extent(Place(chance.randbytes(32), pack, 70_000, 40 << 20, 3 << 20, 4 << 20), 3 << 20, 1 << 20)
        for _ in range(count)
    )


@pytest.mark.parametrize(("files", "each"), [(400, 500), (3, 60_000)])
def test_a_tree_of_few_but_large_files_can_be_read_back(files: int, each: int) -> None:
    vault, extents = SmallVault(), pieces(each)
    with vault.writer() as writer:
        for number in range(files):
            writer.keep(Entry(b"%04d" % number, EntryKind.FILE, size=each << 20, digest=bytes(32), extents=extents))
        written = writer.finish()
    assert sum(len(entry.extents) for entry in vault.reader(written.root).entries()) == files * each


def test_a_file_with_more_pieces_than_a_page_takes_fails_the_run() -> None:
    writer, extents = SmallVault().writer(), pieces(200_000)
    writer.keep(Entry(b"huge", EntryKind.FILE, size=200_000 << 20, digest=bytes(32), extents=extents))
    with pytest.raises(FormatUnsupported, match="can't be read back"):
        writer.finish()


def test_an_entry_never_weighs_more_than_was_reckoned() -> None:
    xattrs = tuple((b"user.%d" % number, bytes(300)) for number in range(20))
    large = Entry(
        b"p" * 4000, EntryKind.FILE, 0o7777, 2**31, 2**31, "用户" * 9, "g" * 30, 2**62, 2**62, 2**62, b"t" * 4000,
        (2**31, 2**31), xattrs, bytes(32), 2**62, pieces(50), tuple((2**62, 2**62) for _ in range(50)),
    )  # fmt: skip
    assert len(encode_page([large])) <= weight(large) + 5


def test_a_content_that_was_never_handed_over_fails_the_run_instead_of_missing() -> None:
    vault, other = SmallVault(), SmallVault()
    with other.writer() as elsewhere, vault.writer() as writer:
        writer.add(Entry(b"a", EntryKind.FILE), elsewhere.small(b"content"))
        with pytest.raises(ValueError, match="never handed over"):
            writer.finish()
        elsewhere.finish()


def test_a_small_frame_that_claims_to_be_huge_takes_no_memory() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(64 << 20))
    with pytest.raises(zstandard.ZstdError, match="claims"):
        unpack(bomb, 4096, zstandard.ZstdDecompressor())


@pytest.mark.parametrize("field", ["ordinal", "offset", "size", "raw"])
@pytest.mark.parametrize("value", [-1, 2**33, 2**63])
def test_a_place_with_absurd_numbers_is_called_corrupt(field: str, value: int) -> None:
    vault = SmallVault()
    (entry,) = vault.reader(vault.write({b"a": bytes(1000)}).root).entries()
    place = msgspec.structs.replace(entry.extents[0].place, **{field: value})
    absurd = msgspec.structs.replace(entry, extents=(Extent(place, 0, 1000),))
    reader = vault.reader(vault.write({b"a": bytes(1000)}).root)
    with pytest.raises(ObjectCorrupt):
        list(reader.content(absurd))


def test_a_tree_that_lacks_an_entry_is_not_called_whole() -> None:
    vault = SmallVault()
    root = msgspec.msgpack.decode(vault.write({b"a": b"1", b"b": b"2"}).root, type=Root)
    short = vault.reader(msgspec.msgpack.encode(msgspec.structs.replace(root, entries=3)))
    with pytest.raises(RestoreMismatch, match="2 entries instead of 3"):
        list(short.entries())


def test_a_compressor_that_errs_never_gets_a_chunk_into_the_vault(monkeypatch: pytest.MonkeyPatch) -> None:
    right = zstandard.ZstdCompressor()

    class Erring:
        def __init__(self, **_: object) -> None:
            """Takes what the true one takes."""

        def compress(self, data: bytes | memoryview) -> bytes:
            return right.compress(bytes(data).replace(b"ledger", b"lodger"))

    monkeypatch.setattr(zstandard, "ZstdCompressor", Erring)
    vault = SmallVault()
    with pytest.raises(HostUnsuitable, match="memory"):
        vault.write({b"a": b"ledger line\n" * 10_000})
    assert vault.destination.places == {}
