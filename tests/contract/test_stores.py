"""What every store promises (``drbackup/stores/base.py``), held against each kind on the real thing."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drbackup.errors import ObjectCorrupt, ObjectExists, ObjectMissing, UsageError
from drbackup.stores.base import Store
from drbackup.stores.folder.store import DirectoryStore
from tests.support.doubles.faulty_store import FaultyStore
from tests.support.doubles.memory_store import MemoryStore

if TYPE_CHECKING:
    from tests.support.services.seaweedfs import S3Server

KINDS = [
    "memory",
    "directory",
    "faulty",
    pytest.param("s3-locked", marks=pytest.mark.s3),
    pytest.param("s3-plain", marks=pytest.mark.s3),
    pytest.param("s3-tls", marks=pytest.mark.s3),
]
BODY = bytes(range(256)) * 300


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "memory":
        return MemoryStore()
    if request.param == "directory":
        return DirectoryStore("second", tmp_path / "store")
    if request.param == "faulty":
        return FaultyStore(DirectoryStore("second", tmp_path / "store"))
    from drbackup.stores.s3.store import S3Store

    server: S3Server = request.getfixturevalue("s3_server")
    bucket = server.shared_bucket(lock=request.param != "s3-plain")
    prefix = f"city/{secrets.token_hex(6)}"
    if request.param == "s3-tls":
        config = server.config(bucket, prefix=prefix, endpoint=server.tls_endpoint, ca_file=str(server.ca_file))
    else:
        config = server.config(bucket, prefix=prefix, lock_days=1 if request.param == "s3-locked" else 0)
    return S3Store("offsite", config)


def hashed(data: bytes, before: str = "v1/d/db1/p/") -> str:
    return before + hashlib.sha256(data).hexdigest()


def test_is_a_store(store: Store) -> None:
    assert isinstance(store, Store)
    assert store.name


@pytest.mark.parametrize("body", [b"", b"x", BODY, memoryview(BODY)[7:5000]], ids=["empty", "one", "big", "view"])
def test_gives_back_exactly_what_was_put(store: Store, body: bytes | memoryview) -> None:
    store.put("v1/vault", body)
    assert store.get("v1/vault") == bytes(body)
    found = store.stat("v1/vault")
    assert found is not None
    assert (found.name, found.size) == ("v1/vault", len(body))


def test_reads_any_range(store: Store) -> None:
    store.put("v1/x", BODY)
    size = len(BODY)
    for offset, length in [(0, 1), (0, size), (5, 7), (size - 1, 1), (1000, None), (size, None), (3, 0), (size, 0)]:
        end = size if length is None else offset + length
        assert store.get("v1/x", offset, length) == BODY[offset:end], (offset, length)


@pytest.mark.parametrize(
    ("offset", "length"), [(0, len(BODY) + 1), (len(BODY) - 1, 2), (len(BODY), 1), (len(BODY) + 1, None)]
)
def test_never_answers_a_range_past_the_end(store: Store, offset: int, length: int | None) -> None:
    store.put("v1/x", BODY)
    with pytest.raises(ObjectCorrupt):
        store.get("v1/x", offset, length)


@pytest.mark.parametrize("name", ["v1/nothing", hashed(b"nothing")])
def test_says_that_a_missing_object_is_missing(store: Store, name: str) -> None:
    store.put("v1/nothing-else", b"x")
    for offset, length in [(0, None), (4, 5), (4, None), (0, 0)]:
        with pytest.raises(ObjectMissing):
            store.get(name, offset, length)
    assert store.stat(name) is None


@pytest.mark.parametrize("name", ["v1/x", hashed(BODY)])
def test_takes_the_same_bytes_again(store: Store, name: str) -> None:
    store.put(name, BODY)
    store.put(name, BODY)
    assert store.get(name) == BODY


@pytest.mark.parametrize("name", ["v1/x", hashed(BODY)])
@pytest.mark.parametrize("other", [BODY[:-1] + b"!", BODY + b"!", b""], ids=["altered", "longer", "empty"])
def test_never_changes_the_bytes_of_a_name(store: Store, name: str, other: bytes) -> None:
    store.put(name, BODY)
    with pytest.raises(ObjectExists):
        store.put(name, other)
    assert store.get(name) == BODY


def test_lets_one_of_many_racing_writers_win_whole(store: Store) -> None:
    writers, start = 8, threading.Barrier(8)

    def write(number: int) -> bool:
        start.wait(30)
        try:
            store.put("v1/race", bytes([number]) * 70_000)
        except ObjectExists:
            return False
        return True

    with ThreadPoolExecutor(writers) as pool:
        won = [number for number, winner in enumerate(pool.map(write, range(writers))) if winner]
    assert len(won) == 1
    assert store.get("v1/race") == bytes([won[0]]) * 70_000


def test_tells_every_racing_writer_of_the_same_bytes_that_they_are_stored(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.put(hashed(BODY), BODY), range(8)))
    assert store.get(hashed(BODY)) == BODY
    assert [found.size for found in store.list("v1/d/")] == [len(BODY)]


def test_lists_every_object_below_a_prefix_and_no_other(store: Store) -> None:
    names = ["v1/vault", "v1/r/city/1-a", "v1/r/city/2-b", "v1/r/city2/1-a", "v1/d/db1/p/0", "v1/r/a.b", "v1/rest"]
    for name in names:
        store.put(name, name.encode())
    for prefix in ["", "v1/", "v1/r/", "v1/r/city", "v1/r/city/", "v1/r", "v1/none/", "v1/r/city/2-b", "v2/"]:
        found = {stat.name: stat.size for stat in store.list(prefix)}
        assert found == {name: len(name) for name in names if name.startswith(prefix)}, prefix


def test_an_empty_store_lists_nothing(store: Store) -> None:
    assert list(store.list("v1/")) == []


def test_lists_and_sees_an_object_as_soon_as_it_is_put(store: Store) -> None:
    for number in range(10):
        store.put(f"v1/list/{number}", b"x")
        assert store.stat(f"v1/list/{number}") is not None
        assert len(list(store.list("v1/list/"))) == number + 1


BAD_NAMES = ["", "/v1", "v1/", "v1//x", "v1/../x", "..", "v1/.hidden", "v1/\x00", "v1/a b", "v1/" + "x" * 256]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_refuses_names_that_no_store_could_keep_apart(store: Store, name: str) -> None:
    with pytest.raises(UsageError):
        store.put(name, b"x")


def test_whole_reads_never_hand_out_bytes_that_contradict_the_name(
    store: Store,
) -> None:
    for before in ("v1/d/db1/p/", "v1/r/city/20261123T120000Z-"):
        name = hashed(b"what the name promises", before)
        store.put(name, b"what lies there")
        with pytest.raises(ObjectCorrupt):
            store.get(name)
        assert store.get(name, 5, 4) == b"lies"


def test_signs_uploads_and_reads_or_says_that_it_can_not(store: Store) -> None:
    from drbackup.stores.s3.signed import get_signed, put_signed

    signed = store.sign_put(hashed(BODY), len(BODY), hashlib.sha256(BODY).digest())
    url = store.sign_get(hashed(BODY))
    assert (signed is None) == (url is None)
    if signed is None or url is None:
        return
    ca_file = store.config.ca_file  # type: ignore[attr-defined]
    put_signed(signed.url, signed.headers, BODY, ca_file=ca_file)
    put_signed(signed.url, signed.headers, BODY, ca_file=ca_file)  # a retry after a lost answer
    assert store.get(hashed(BODY)) == BODY
    assert get_signed(url, 10, 20, ca_file=ca_file) == BODY[10:30]


def test_one_store_serves_many_threads(store: Store) -> None:
    bodies = [bytes([number]) * (1000 + number) for number in range(40)]

    def both(body: bytes) -> bool:
        store.put(hashed(body), body)
        return store.get(hashed(body)) == body

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(both, bodies))
    assert len(list(store.list("v1/d/"))) == 40


def test_refuses_prefixes_that_climb(store: Store) -> None:
    climbs: list[Callable[[], object]] = [lambda: list(store.list("../")), lambda: list(store.list("v1/../../"))]
    for climb in climbs:
        with pytest.raises(UsageError):
            climb()


# --- reading back and mending -----------------------------------------------------------------------------------------


def lay(store: Store, name: str, body: bytes | None) -> None:
    """What decay, a thief or a careless hand does behind the store's back: other bytes under a name, or none."""
    inner = store.inner if isinstance(store, FaultyStore) else store
    if isinstance(inner, MemoryStore):
        inner.objects.pop(name, None)
        inner.objects |= {name: body} if body is not None else {}
    elif isinstance(inner, DirectoryStore):
        path = inner.path / name
        path.unlink(missing_ok=True)
        if body is not None:
            path.write_bytes(body)
    else:
        place = {"Bucket": inner.config.bucket, "Key": inner.key(name)}  # type: ignore[attr-defined]
        client = inner.client  # type: ignore[attr-defined]
        for version in client.list_object_versions(Bucket=place["Bucket"], Prefix=place["Key"]).get("Versions", ()):
            if version["VersionId"] != "null" and inner.config.lock_days:  # type: ignore[attr-defined]
                client.put_object(**place, Body=b"laid over")  # a lock: what is there can only be hidden
            else:
                client.delete_object(**place, VersionId=version["VersionId"])
        client.put_object(**place, Body=body) if body is not None else client.delete_object(**place)


DAMAGE = [BODY[:-1] + b"!", BODY[:1000], b""]


@pytest.mark.parametrize("body", [b"", BODY, BODY * 40], ids=["empty", "small", "several-pieces"])
@pytest.mark.parametrize("name", ["v1/vault", ""], ids=["plain", "hashed"])
def test_checking_reads_every_byte_and_says_how_many(store: Store, name: str, body: bytes) -> None:
    store.put(name or hashed(body), body)
    assert store.check(name or hashed(body)) == len(body)
    with pytest.raises(ObjectMissing):
        store.check(hashed(b"another"))


@pytest.mark.parametrize("damage", DAMAGE, ids=["flipped", "truncated", "emptied"])
def test_checking_finds_damage(store: Store, damage: bytes) -> None:
    lay_first(store, hashed(BODY), damage)
    with pytest.raises(ObjectCorrupt):
        store.check(hashed(BODY))


def lay_first(store: Store, name: str, body: bytes) -> None:
    """Damage without any good version below it."""
    store.put("v1/beside", b"so that the folders are there")
    if isinstance(store, DirectoryStore | FaultyStore):
        store.put(name[:-64] + "0" * 64, b"so that the folder is there")
    lay(store, name, body)


@pytest.mark.parametrize("damage", [*DAMAGE, None], ids=["flipped", "truncated", "emptied", "missing"])
def test_mending_makes_a_name_give_back_its_bytes(store: Store, damage: bytes | None) -> None:
    name = hashed(BODY)
    if damage is not None:
        lay_first(store, name, damage)
    store.repair(name, BODY)
    assert store.get(name) == BODY
    assert store.get(name, 7, 100) == BODY[7:107]
    assert store.check(name) == len(BODY)
    store.put(name, BODY)  # it is as if nothing had been: no conflict
    assert [found.size for found in store.list("v1/d/db1/p/") if found.name == name] == [len(BODY)]


def test_mending_refuses_bytes_that_the_name_does_not_promise(store: Store) -> None:
    store.put(hashed(BODY), BODY)
    for wrong in DAMAGE:
        with pytest.raises(ObjectCorrupt):
            store.repair(hashed(BODY), wrong)
    assert store.get(hashed(BODY)) == BODY


def test_mending_what_is_whole_writes_nothing(store: Store) -> None:
    store.put(hashed(BODY), BODY)
    before = list(store.list("v1/"))
    store.repair(hashed(BODY), BODY)
    assert list(store.list("v1/")) == before
    assert store.get(hashed(BODY)) == BODY


def test_a_plain_name_is_mended_with_what_the_caller_says(store: Store) -> None:
    store.put("v1/vault", b"damaged")
    store.repair("v1/vault", BODY)
    assert store.get("v1/vault") == BODY
