"""Index deltas and packs' own tables say the same, and what does not open is named."""

from __future__ import annotations

import random

import pytest

from drbackup.errors import ObjectCorrupt, WrongKey
from drbackup.vault.index import PackTable, own_table, read_index
from drbackup.vault.keys import CATALOG, DRILL, RECOVERY, Keyring
from drbackup.vault.layout import digest_in_name
from drbackup.vault.pack import read_header
from drbackup.wire.messages import Place
from tests.support.cities.small_vault import SmallVault


def packs(vault: SmallVault, kind: str) -> dict[str, bytes]:
    prefix = f"v1/d/{vault.domain}/{kind}/"
    return {stat.name: vault.store.get(stat.name) for stat in vault.store.list(prefix)}


@pytest.fixture
def vault() -> SmallVault:
    vault = SmallVault()
    vault.write({b"a": b"alpha" * 1000, b"big": random.Random(5).randbytes(4 << 20)})
    return vault


def test_a_delta_names_every_chunk_as_the_writer_told_the_depot(vault: SmallVault) -> None:
    ring = Keyring([vault.keys[CATALOG]])
    ((name, data),) = packs(vault, "i").items()
    tables = tuple(read_index(data, vault.domain, ring, name))
    assert {table.session for table in tables} == {"test"}
    found = {place.id: place for table in tables for place in table.places}
    indexed = {place.id for place in own_table(data, "i", vault.domain, ring, (bytes(32), name)).places}
    assert found == {key: place for key, place in vault.destination.places.items() if key not in indexed}


@pytest.mark.parametrize(("kind", "role"), [("t", CATALOG), ("p", DRILL), ("p", RECOVERY), ("i", CATALOG)])
def test_a_packs_own_table_says_the_same(vault: SmallVault, kind: str, role: str) -> None:
    for name, data in packs(vault, kind).items():
        pack = bytes.fromhex(digest_in_name(name))
        table = own_table(data, kind, vault.domain, Keyring([vault.keys[role]]), (pack, name))
        assert table.fits(len(data))
        assert list(table.places) == [vault.destination.places[place.id] for place in table.places]


def test_the_catalog_key_opens_no_data_pack(vault: SmallVault) -> None:
    name, data = next(iter(packs(vault, "p").items()))
    with pytest.raises(WrongKey):
        own_table(data, "p", vault.domain, Keyring([vault.keys[CATALOG]]), (bytes(32), name))


def test_a_flipped_byte_anywhere_in_a_deltas_sealed_part_is_found(vault: SmallVault) -> None:
    ring = Keyring([vault.keys[CATALOG]])
    ((name, data),) = packs(vault, "i").items()
    _, sealed_from = read_header(
        data, name
    )  # the header also holds other keys' sealed forms, which are not ours to judge
    for place in random.Random(1).sample(range(sealed_from, len(data)), 40):
        flipped = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(ObjectCorrupt):
            tuple(read_index(flipped, vault.domain, ring, name))


def test_a_table_that_reaches_outside_its_pack_does_not_fit() -> None:
    place = Place(bytes(32), b"\x01" * 32, 0, 90, 20, 20)
    assert PackTable("", b"\x01" * 32, (place,)).fits(110)
    assert not PackTable("", b"\x01" * 32, (place,)).fits(109)
    assert not PackTable("", b"\x02" * 32, (place,)).fits(110)
