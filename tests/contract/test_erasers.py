"""What every eraser promises (``drbackup/stores/erase.py``), held against each kind on the real thing."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drbackup.errors import UsageError
from drbackup.stores.base import Store
from drbackup.stores.erase import Eraser
from drbackup.stores.folder.store import DirectoryStore
from tests.support.doubles.memory_eraser import MemoryEraser
from tests.support.doubles.memory_store import MemoryStore

if TYPE_CHECKING:
    from tests.support.services.seaweedfs import S3Server

KINDS = [
    "memory",
    "directory",
    pytest.param("s3-plain", marks=pytest.mark.s3),
    pytest.param("s3-versioned", marks=pytest.mark.s3),
]
NAME = "v1/d/db1/p/" + hashlib.sha256(b"one").hexdigest()
LONGER = NAME + "0"


@dataclass
class Pair:
    store: Store
    eraser: Eraser


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    if request.param == "memory":
        memory = MemoryStore()
        return Pair(memory, MemoryEraser(memory))
    if request.param == "directory":
        from drbackup.stores.folder.erase import DirectoryEraser

        return Pair(DirectoryStore("second", tmp_path / "store"), DirectoryEraser("second", tmp_path / "store"))
    from drbackup.stores.s3.erase import S3Eraser
    from drbackup.stores.s3.store import S3Store

    server: S3Server = request.getfixturevalue("s3_server")
    bucket = server.shared_bucket(lock=request.param == "s3-versioned")
    config = server.config(bucket, prefix=f"erase/{secrets.token_hex(6)}")
    return Pair(S3Store("offsite", config), S3Eraser("offsite", config))


def test_is_an_eraser_and_no_store_is(pair: Pair) -> None:
    assert isinstance(pair.eraser, Eraser)
    assert not isinstance(pair.store, Eraser)


def test_erases_exactly_the_name_it_is_given(pair: Pair) -> None:
    for name in (NAME, LONGER, "v1/d/db1/p/other", "v1/vault"):
        pair.store.put(name, b"x" * 10)
    assert pair.eraser.erase(NAME).gone
    assert pair.store.stat(NAME) is None
    assert {stat.name for stat in pair.store.list("v1/")} == {LONGER, "v1/d/db1/p/other", "v1/vault"}


def test_what_is_not_there_is_gone(pair: Pair) -> None:
    assert pair.eraser.erase("v1/r/city/none").gone
    pair.store.put(NAME, b"one")
    assert pair.eraser.erase(NAME).gone
    assert pair.eraser.erase(NAME).gone


def test_a_name_that_was_erased_can_be_stored_again(pair: Pair) -> None:
    pair.store.put(NAME, b"one")
    pair.eraser.erase(NAME)
    pair.store.put(NAME, b"one")
    assert pair.store.get(NAME) == b"one"


@pytest.mark.parametrize("name", ["", "v1/", "../x", "v1/../x", "v1/.hidden"])
def test_refuses_names_that_climb_or_are_folders(pair: Pair, name: str) -> None:
    climb: Callable[[], object] = lambda: pair.eraser.erase(name)  # noqa: E731
    with pytest.raises(UsageError):
        climb()


def test_no_symbolic_link_leads_an_eraser_out_of_its_folder(tmp_path: Path) -> None:
    from drbackup.errors import StoreRefused
    from drbackup.stores.folder.erase import DirectoryEraser

    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"mine")
    store = DirectoryStore("second", tmp_path / "store")
    store.put("v1/vault", b"v")
    (tmp_path / "store/v1/d").symlink_to(outside)
    (tmp_path / "store/v1/link").symlink_to(outside / "precious")
    eraser = DirectoryEraser("second", tmp_path / "store")
    with pytest.raises(StoreRefused):
        eraser.erase("v1/d/precious")
    eraser.erase("v1/link")
    assert (outside / "precious").read_bytes() == b"mine"


def test_an_unmounted_disk_is_no_empty_store(tmp_path: Path) -> None:
    from drbackup.errors import StoreUnavailable
    from drbackup.stores.folder.erase import DirectoryEraser

    with pytest.raises(StoreUnavailable):
        DirectoryEraser("second", tmp_path / "mnt" / "disk").erase(NAME)
