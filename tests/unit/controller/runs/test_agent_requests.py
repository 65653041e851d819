"""What a session's agent may have, and what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drbackup.controller.catalog import Catalog
from drbackup.controller.copies.presence import missing_packs
from drbackup.controller.runs.agent_requests import (
    MAX_PACK,
    BackupRequests,
    Listeners,
    ReadablePacks,
    ReadingRequests,
    UploadTarget,
)
from drbackup.errors import ProtocolViolation, StoreFull, UsageError
from drbackup.stores.base import SignedPut
from drbackup.vault.layout import pack_name
from drbackup.wire.messages import Place
from tests.support.doubles.faulty_store import FaultyStore, Trouble
from tests.support.doubles.memory_store import MemoryStore

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
BODY = b"sealed bytes" * 100
PACK = hashlib.sha256(BODY).digest()
CHUNK = hashlib.sha256(b"chunk").digest()
PLACES = (Place(CHUNK, PACK, 0, 10, 100, 200),)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path / "catalog.sqlite") as opened:
        yield opened


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def handler(catalog: Catalog, store: MemoryStore) -> BackupRequests:
    return BackupRequests(UploadTarget(catalog, store, "db1", "session", lambda: NOW), Listeners())


def test_a_relayed_pack_is_stored_then_remembered(handler: BackupRequests, store: MemoryStore) -> None:
    assert handler.upload("p", PACK, len(BODY)) is None
    assert handler.locate(CHUNK) == ()
    handler.uploaded("p", PACK, len(BODY), PLACES, BODY)
    assert store.get(pack_name("db1", "p", PACK)) == BODY
    assert handler.locate(CHUNK + bytes(32)) == PLACES
    assert handler.upload("p", PACK, len(BODY)) == "stored"


def test_a_pack_the_store_has_lost_is_asked_for_again(catalog: Catalog, handler: BackupRequests) -> None:
    handler.uploaded("p", PACK, len(BODY), PLACES, BODY)
    elsewhere = BackupRequests(UploadTarget(catalog, MemoryStore(), "db1", "session", lambda: NOW), Listeners())
    assert elsewhere.upload("p", PACK, len(BODY)) is None  # same name, but an empty store
    assert elsewhere.locate(CHUNK) == ()


def test_an_upload_past_us_is_remembered_as_the_agent_reports_it(handler: BackupRequests, store: MemoryStore) -> None:
    handler.uploaded("p", PACK, len(BODY), PLACES, None)
    assert handler.locate(CHUNK) == PLACES
    # Proven before the commit, and by every later session that would rely on it:
    assert missing_packs(store, "db1", [b"p" + PACK], {b"p" + PACK: len(BODY)}) == (b"p" + PACK,)
    assert handler.upload("p", PACK, len(BODY)) is None


def test_a_pack_that_could_not_be_stored_is_not_remembered(catalog: Catalog, store: MemoryStore) -> None:
    full = FaultyStore(store, [Trouble("put", kind="full")])
    handler = BackupRequests(UploadTarget(catalog, full, "db1", "session", lambda: NOW), Listeners())
    with pytest.raises(StoreFull):
        handler.uploaded("p", PACK, len(BODY), PLACES, BODY)
    assert handler.locate(CHUNK) == ()


@pytest.mark.parametrize(
    ("kind", "pack", "size"),
    [("r", PACK, 10), ("../v", PACK, 10), ("p", PACK[:31], 10), ("p", PACK, 0), ("p", PACK, MAX_PACK + 1)],
)
def test_foreign_kinds_names_and_sizes_are_refused(handler: BackupRequests, kind: str, pack: bytes, size: int) -> None:
    with pytest.raises(ProtocolViolation):
        handler.upload(kind, pack, size)


@pytest.mark.parametrize(
    "place",
    [
        Place(CHUNK, bytes(32), 0, 0, 10, 10),
        Place(CHUNK[:8], PACK, 0, 0, 10, 10),
        Place(CHUNK, PACK, 0, len(BODY) - 5, 10, 10),
        Place(CHUNK, PACK, 0, -1, 10, 10),
        Place(CHUNK, PACK, 0, 0, -10, 10),
        Place(CHUNK, PACK, 0, 0, 0, 10),
        Place(CHUNK, PACK, -1, 0, 10, 10),
        Place(CHUNK, PACK, 0, 0, 10, -1),
        Place(CHUNK, PACK, 0, 0, 10, 2**40),
        Place(CHUNK, PACK, 2**63, 0, 10, 10),
    ],
)
def test_places_outside_their_pack_are_refused(handler: BackupRequests, place: Place) -> None:
    with pytest.raises(ProtocolViolation):
        handler.uploaded("p", PACK, len(BODY), (place,), BODY)


def test_a_writer_reads_nothing_and_a_reader_writes_nothing(handler: BackupRequests) -> None:
    with pytest.raises(ProtocolViolation):
        handler.fetch("p", "db1", PACK, 0, 10)
    reader = ReadingRequests(ReadablePacks(), Listeners())
    with pytest.raises(ProtocolViolation):
        reader.upload("p", PACK, 10)
    with pytest.raises(ProtocolViolation):
        reader.uploaded("p", PACK, 10, (), BODY)
    with pytest.raises(ProtocolViolation):
        reader.locate(CHUNK)


def test_a_reader_gets_its_points_packs_and_no_others(store: MemoryStore) -> None:
    store.put(pack_name("db1", "p", PACK), BODY)
    other = hashlib.sha256(b"another").digest()
    store.put(pack_name("db1", "p", other), b"another")
    reader = ReadingRequests(ReadablePacks.of([("db1", [b"p" + PACK], store)]), Listeners())
    assert reader.fetch("p", "db1", PACK, 5, 10) == BODY[5:15]
    assert reader.fetch("p", "db1", PACK, len(BODY) - 4, 100) == BODY[-4:]
    assert reader.fetch("p", "db1", PACK, len(BODY) + 4, 100) == b""
    for kind, domain, pack in (("p", "db1", other), ("t", "db1", PACK), ("p", "db2", PACK)):
        with pytest.raises(ProtocolViolation):
            reader.fetch(kind, domain, pack, 0, 1)


class Signing(MemoryStore):
    def sign_put(self, name: str, size: int, sha256: bytes) -> SignedPut | None:
        return SignedPut(f"https://store/{name}", {"content-length": str(size)})

    def sign_get(self, name: str) -> str | None:
        return f"https://store/{name}"


def test_a_store_that_signs_is_written_and_read_without_us(catalog: Catalog) -> None:
    handler = BackupRequests(UploadTarget(catalog, Signing(), "db1", "session", lambda: NOW), Listeners())
    put = handler.upload("p", PACK, len(BODY))
    assert isinstance(put, SignedPut)
    assert put.url.endswith(pack_name("db1", "p", PACK))
    reader = ReadingRequests(ReadablePacks.of([("db1", [b"p" + PACK], Signing())]), Listeners())
    assert str(reader.fetch("p", "db1", PACK, 0, 1)).startswith("https://")


def test_a_domain_that_is_no_name_never_becomes_a_path(catalog: Catalog, store: MemoryStore) -> None:
    handler = BackupRequests(UploadTarget(catalog, store, "../db1", "session", lambda: NOW), Listeners())
    with pytest.raises(UsageError):
        handler.upload("p", PACK, 10)


def test_a_server_without_a_route_to_the_store_writes_and_reads_through_the_session(catalog: Catalog) -> None:
    store = Signing()
    handler = BackupRequests(UploadTarget(catalog, store, "db1", "session", lambda: NOW, relay=True), Listeners())
    assert handler.upload("p", PACK, len(BODY)) is None
    handler.uploaded("p", PACK, len(BODY), PLACES, BODY)
    reader = ReadingRequests(ReadablePacks.of([("db1", [b"p" + PACK], store)]), Listeners(), relay=True)
    assert reader.fetch("p", "db1", PACK, 0, 4) == BODY[:4]
