"""What points use of their packs is counted once; a tree that lies keeps its domain from being judged."""

from __future__ import annotations

import hashlib

import pytest

from drbackup.controller.collect.liveness import LiveCount
from drbackup.model.point import SourceFacts, Totals
from drbackup.vault.keys import CATALOG, ROLES, Keyring, SealKey, domain_keys
from drbackup.vault.layout import pack_name
from drbackup.vault.record import Commit, Record, Sealed, make_record
from drbackup.vault.store_access import StoreDestination
from drbackup.vault.tree import Entry, EntryKind
from drbackup.vault.write.writer import PointWriter
from tests.support.doubles.memory_store import MemoryStore

RING = {role: SealKey.from_seed(role, bytes([number + 1]) * 32) for number, role in enumerate(ROLES)}
RECIPIENTS = tuple(key.recipient for key in RING.values())
KEYS = domain_keys(b"\x07" * 32, "db1", RECIPIENTS)


def record(
    store: MemoryStore, files: dict[bytes, bytes], destination: StoreDestination, *, hide: bool = False
) -> Record:
    """A point with these files; ``hide``: its record names no data pack."""
    with PointWriter(destination, KEYS) as writer:
        for path, content in sorted(files.items()):
            written = writer.stream([content])
            writer.add(Entry(path, EntryKind.FILE, size=written.size), written)
        made = writer.finish()
    packs = tuple(pack for pack in made.packs if not hide or pack[:1] == b"t")
    content = Sealed(made.root, SourceFacts(pinned_ns=1, kind="files"), Totals())
    return make_record(Commit("base", "scans", "db1", "s1", 1, "", packs, content), RECIPIENTS)


def sizes(store: MemoryStore, *records: Record) -> dict[tuple[str, bytes], int]:
    found = {}
    for each in records:
        for pack in each.packs:
            found["db1", pack] = len(store.objects[pack_name("db1", chr(pack[0]), pack[1:])])
    return found


def noise(number: int) -> bytes:
    """Content that does not compress, 64 KiB."""
    return b"".join(hashlib.sha256(b"%d %d" % (number, each)).digest() for each in range(2048))


def count(store: MemoryStore, *records: Record) -> LiveCount:
    live = LiveCount(sizes(store, *records), Keyring([RING[CATALOG]]))
    for each in records:
        live.count(each, store, "v1/r/base/x")
    return live


def test_a_chunk_that_two_points_share_is_counted_once() -> None:
    store = MemoryStore()
    destination = StoreDestination(store, "db1")
    first = record(store, {b"a": noise(1), b"b": noise(2)}, destination)
    second = record(store, {b"a": noise(1), b"b": noise(2), b"c": noise(3)}, destination)
    alone, both = count(store, first).result(()), count(store, first, second).result(())
    data = [key for key in alone if key[1][:1] == b"p"]
    assert data
    for key in data:
        assert alone[key] == both[key] <= sizes(store, first)[key]
        assert alone[key] > 0.8 * sizes(store, first)[key]


def test_what_no_remaining_point_uses_is_not_counted() -> None:
    store = MemoryStore()
    destination = StoreDestination(store, "db1")
    record(store, {b"%d" % number: noise(number) for number in range(16)}, destination)
    last = record(store, {b"3": noise(3)}, destination)
    live = count(store, last).result(())
    ((pack, used),) = [(key, used) for key, used in live.items() if key[1][:1] == b"p"]
    assert 0.04 < used / sizes(store, last)[pack] < 0.1  # one small file of sixteen, that share their chunks


@pytest.mark.parametrize("unread", ["", "db1"])
def test_nothing_is_judged_where_a_record_could_not_be_read(unread: str) -> None:
    store = MemoryStore()
    live = count(store, record(store, {b"a": noise(1)}, StoreDestination(store, "db1")))
    assert live.result(())
    assert live.result({unread}) == {}
    assert live.result({"db2"})


def test_a_tree_that_uses_packs_its_record_does_not_name_leaves_its_domain_unjudged() -> None:
    store = MemoryStore()
    destination = StoreDestination(store, "db1")
    honest, liar = record(store, {b"a": noise(1)}, destination), record(store, {b"b": noise(2)}, destination, hide=True)
    hidden = {
        ("db1", b"p" + bytes.fromhex(name[-64:])): len(data) for name, data in store.objects.items() if "/p/" in name
    }
    live = LiveCount({**sizes(store, honest, liar), **hidden}, Keyring([RING[CATALOG]]))
    live.count(honest, store, "v1/r/base/honest")
    live.count(liar, store, "v1/r/base/liar")
    assert live.result(()) == {}
    assert "v1/r/base/liar" in live.notes[0]


def test_a_damaged_tree_is_named_and_leaves_its_domain_unjudged() -> None:
    store = MemoryStore()
    made = record(store, {b"a": noise(1)}, StoreDestination(store, "db1"))
    for name in [name for name in store.objects if "/t/" in name]:
        store.objects[name] = store.objects[name][:100]
    live = count(store, made)
    assert live.result(()) == {}
    assert "can't be read" in live.notes[0]
