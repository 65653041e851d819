"""Records: the commit, its signature, its chain, its sealed half."""

from __future__ import annotations

import pytest

from drbackup.errors import ObjectCorrupt, SignatureInvalid, VaultMissing, WrongKey
from drbackup.model.point import SourceFacts, Totals
from drbackup.vault.description import VaultDescription, create_vault, read_vault
from drbackup.vault.keys import Keyring, SigningKey
from drbackup.vault.record import Commit, Sealed, list_records, make_record, read_record, unseal, write_record
from tests.support.cities.small_vault import SmallVault
from tests.support.doubles.memory_store import MemoryStore


def commit(system: str = "enterprise-base", second: int = 0) -> Commit:
    facts = SourceFacts(pinned_ns=1_800_000_000_000_000_000, kind="postgres", server="15.18", position="0/16B3748")
    content = Sealed(b"root", facts, Totals(entries=3, rows=1200, bytes=99))
    when = 1_800_000_000_000_000_000 + second * 1_000_000_000
    return Commit(system, "registry", "db1.test", "s1", when, "", (b"p" + b"\x01" * 32,), content)


def recipients(vault: SmallVault) -> tuple[object, ...]:
    return tuple(key.recipient for key in vault.keys.values())


def test_a_written_record_reads_back_whole_with_the_catalog_key() -> None:
    vault = SmallVault()
    record = make_record(commit(), recipients(vault))  # type: ignore[arg-type]
    identity, name = write_record(vault.store, record, vault.signer)
    assert name.endswith(identity)
    again = read_record(vault.store, name, vault.signer.public)
    assert again == record
    assert unseal(again, Keyring([vault.keys["catalog"]])).facts.position == "0/16B3748"


def test_the_clear_half_names_no_position_server_or_row() -> None:
    vault = SmallVault()
    _, name = write_record(vault.store, make_record(commit(), recipients(vault)), vault.signer)  # type: ignore[arg-type]
    clear = vault.store.get(name)
    assert b"15.18" not in clear
    assert b"16B3748" not in clear


def test_a_stranger_can_neither_sign_nor_unseal() -> None:
    vault = SmallVault()
    record = make_record(commit(), recipients(vault))  # type: ignore[arg-type]
    _, name = write_record(vault.store, record, SigningKey.from_seed(b"\x55" * 32))
    with pytest.raises(SignatureInvalid, match=name):
        read_record(vault.store, name, vault.signer.public)
    with pytest.raises(WrongKey):
        unseal(record, Keyring([]))


def test_a_flipped_byte_in_a_record_is_damage_and_named() -> None:
    store = MemoryStore()
    vault = SmallVault(store)
    _, name = write_record(store, make_record(commit(), recipients(vault)), vault.signer)  # type: ignore[arg-type]
    data = bytearray(store.objects[name])
    data[len(data) // 2] ^= 4
    store.objects[name] = bytes(data)
    with pytest.raises(ObjectCorrupt, match="do not match its name"):
        read_record(store, name, vault.signer.public)


def test_a_record_under_another_systems_name_is_refused() -> None:
    store = MemoryStore()
    vault = SmallVault(store)
    _, name = write_record(store, make_record(commit(), recipients(vault)), vault.signer)  # type: ignore[arg-type]
    moved = name.replace("enterprise-base", "citizen-card")
    store.objects[moved] = store.objects[name]
    with pytest.raises(ObjectCorrupt, match="is a record of enterprise-base"):
        read_record(store, moved, vault.signer.public)


def test_records_of_different_seconds_list_in_time_order() -> None:
    vault = SmallVault()
    written = {}
    for second in (2, 0, 1):
        record = make_record(commit(second=second), recipients(vault))  # type: ignore[arg-type]
        written[second] = write_record(vault.store, record, vault.signer)[1]
    names = [stat.name for stat in list_records(vault.store, "enterprise-base")]
    assert names == [written[0], written[1], written[2]]


def test_an_empty_store_is_told_apart_from_a_foreign_vault() -> None:
    vault = SmallVault()
    with pytest.raises(VaultMissing):
        read_vault(vault.store)
    description = VaultDescription("v", 1, (), vault.signer.public)
    create_vault(vault.store, description, vault.signer)
    assert read_vault(vault.store, vault.signer.public) == description
    with pytest.raises(SignatureInvalid):
        read_vault(vault.store, SigningKey.from_seed(b"\x33" * 32).public)
