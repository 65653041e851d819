"""Packs: what is sealed, what is in the clear, and what damage looks like."""

from __future__ import annotations

import hashlib

import pytest

from drbackup.errors import DrbackupError, FormatUnsupported, ObjectCorrupt, WrongKey
from drbackup.vault.keys import Keyring
from drbackup.vault.layout import DATA, TREE
from drbackup.vault.pack import HEADER_LIMIT, PACK_MAGIC, PackBuilder, PackOpener, SessionKey, read_header
from tests.support.cities.small_vault import SmallVault

CHUNKS = [(bytes([number]) * 32, b"content %d " % number * (number + 1)) for number in range(5)]


def build(vault: SmallVault, kind: str = DATA) -> tuple[bytes, bytes]:
    builder = PackBuilder(SessionKey.new(kind, vault.domain_keys))
    for name, data in CHUNKS:
        builder.add(name, len(data), data)
    digest, data = builder.finish()
    return digest, bytes(data)


def opener(vault: SmallVault, data: bytes, role: str = "drill", domain: str = "") -> PackOpener:
    return PackOpener(data[:HEADER_LIMIT], domain or vault.domain, Keyring([vault.keys[role]]), "the pack")


def test_every_chunk_comes_back_through_the_table() -> None:
    vault = SmallVault()
    digest, data = build(vault)
    assert hashlib.sha256(data).digest() == digest
    pack = opener(vault, data)
    for ordinal, (row, offset) in enumerate(pack.table(data)):
        assert (row.id, row.raw) == (CHUNKS[ordinal][0], len(CHUNKS[ordinal][1]))
        assert pack.open(ordinal, data[offset : offset + row.size], row.id) == CHUNKS[ordinal][1]


def test_the_catalog_key_opens_trees_but_no_content() -> None:
    vault = SmallVault()
    _, tree = build(vault, TREE)
    assert opener(vault, tree, "catalog").table(tree)
    _, content = build(vault, DATA)
    with pytest.raises(WrongKey):
        opener(vault, content, "catalog")


def test_a_pack_does_not_open_as_another_domains() -> None:
    vault = SmallVault()
    _, data = build(vault)
    with pytest.raises(ObjectCorrupt):
        opener(vault, data, domain="db2.test")


def test_a_chunk_does_not_open_under_another_number_or_id() -> None:
    vault = SmallVault()
    _, data = build(vault)
    pack = opener(vault, data)
    (row, offset) = pack.table(data)[1]
    sealed = data[offset : offset + row.size]
    for ordinal, name in ((2, row.id), (1, CHUNKS[2][0])):
        with pytest.raises(ObjectCorrupt):
            pack.open(ordinal, sealed, name)


def read_all(vault: SmallVault, data: bytes) -> None:
    """Open every chunk that the pack's own table names."""
    pack = opener(vault, data)
    for ordinal, (row, offset) in enumerate(pack.table(data)):
        pack.open(ordinal, data[offset : offset + row.size], row.id)


def test_any_flipped_byte_is_found_even_without_the_packs_name() -> None:
    vault = SmallVault()
    _, data = build(vault)
    clear = read_header(data[:HEADER_LIMIT], "the pack")[1]
    for position in [*range(0, clear, 61), *range(clear, len(data))]:
        broken = bytearray(data)
        broken[position] ^= 1
        if position < clear and sealed_for_others(vault, data, bytes(broken)):
            continue
        with pytest.raises(DrbackupError):
            read_all(vault, bytes(broken))


def test_damage_to_the_sealed_keys_is_said_with_the_objects_name() -> None:
    vault = SmallVault()
    _, data = build(vault)
    header, _ = read_header(data[:HEADER_LIMIT], "the pack")
    mine = vault.keys["drill"].id
    (sealed,) = (blob for name, blob in header.sealed_keys if name == mine)
    with pytest.raises(ObjectCorrupt, match="the pack: ") as altered:
        opener(vault, data.replace(sealed, bytes(len(sealed)), 1))
    with pytest.raises(WrongKey) as foreign:
        opener(vault, data.replace(mine, bytes(len(mine)), 1))
    assert altered.value.where == foreign.value.where == "the pack"


def sealed_for_others(vault: SmallVault, data: bytes, broken: bytes) -> bool:
    """Whether only another recipient's sealed key was hit: our own reading is then rightly unaffected, and only the
    pack's name shows the damage."""
    try:
        read_all(vault, broken)
    except DrbackupError:
        return False
    return hashlib.sha256(broken).digest() != hashlib.sha256(data).digest()


def test_any_truncation_is_found() -> None:
    vault = SmallVault()
    _, data = build(vault)
    for size in (0, 5, 11, 100, len(data) - 40, len(data) - 1):
        with pytest.raises(DrbackupError):
            read_all(vault, data[:size])


def test_padding_hides_small_differences_in_size() -> None:
    vault = SmallVault()
    sizes = set()
    for extra in range(20):
        builder = PackBuilder(SessionKey.new(DATA, vault.domain_keys))
        builder.add(bytes(32), 100_000, b"x" * (100_000 - extra))
        sizes.add(len(builder.finish()[1]))
    assert len(sizes) <= 2


def test_a_newer_format_is_told_apart_from_damage() -> None:
    vault = SmallVault()
    _, data = build(vault)
    header, _ = read_header(data[:HEADER_LIMIT], "the pack")
    assert data.startswith(PACK_MAGIC)
    newer = data[:12] + data[12:14].replace(b"\x01", b"\x09", 1) + data[14:]
    assert header.format == 1
    with pytest.raises(FormatUnsupported):
        read_header(newer[:HEADER_LIMIT], "the pack")
