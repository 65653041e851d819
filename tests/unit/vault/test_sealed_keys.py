"""The installation's keys come back with the recovery key alone, and never those of another vault."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from drbackup.errors import ObjectCorrupt, SignatureInvalid, WrongKey
from drbackup.vault.description import VaultDescription
from drbackup.vault.keys import CATALOG, DRILL, RECOVERY, Keyring, SealKey, SigningKey
from drbackup.vault.sealed_keys import InstallationKeys, make_sealed_keys, open_sealed_keys, require_custodians

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEYS = InstallationKeys(catalog=b"\x01" * 32, evidence=b"\x02" * 32, domains=b"\x03" * 32)
RECOVERY_KEY, DRILL_KEY = SealKey.from_seed(RECOVERY, b"\x04" * 32), SealKey.from_seed(DRILL, b"\x05" * 32)
CATALOG_KEY = SealKey.from_seed(CATALOG, KEYS.catalog)


def vault(vault_id: str = "aa", evidence: bytes = KEYS.evidence) -> VaultDescription:
    recipients = (RECOVERY_KEY.recipient, DRILL_KEY.recipient, CATALOG_KEY.recipient)
    return VaultDescription(vault_id, 0, recipients, SigningKey.from_seed(evidence).public)


def test_the_recovery_key_brings_them_back_and_they_are_not_shown() -> None:
    name, data = make_sealed_keys(KEYS, vault(), NOW)
    assert name.startswith("v1/c/20261123T120000Z-")
    assert open_sealed_keys(data, name, vault(), Keyring([RECOVERY_KEY])) == KEYS
    assert "x01" not in repr(KEYS)
    assert not any(seed in data for seed in (KEYS.catalog, KEYS.evidence, KEYS.domains))


@pytest.mark.parametrize("key", [DRILL_KEY, CATALOG_KEY, SealKey.from_seed(RECOVERY, os.urandom(32))])
def test_no_other_key_opens_them(key: SealKey) -> None:
    name, data = make_sealed_keys(KEYS, vault(), NOW)
    with pytest.raises(WrongKey):
        open_sealed_keys(data, name, vault(), Keyring([key]))


def test_another_vaults_keys_are_refused() -> None:
    ring = Keyring([RECOVERY_KEY])
    name, data = make_sealed_keys(KEYS, vault(), NOW)
    with pytest.raises(SignatureInvalid):
        open_sealed_keys(data, name, vault(vault_id="bb"), ring)
    with pytest.raises(SignatureInvalid):
        open_sealed_keys(data, name, vault(evidence=b"\x09" * 32), ring)
    others = InstallationKeys(catalog=b"\x08" * 32, evidence=KEYS.evidence, domains=KEYS.domains)
    name, data = make_sealed_keys(others, vault(), NOW)
    with pytest.raises(SignatureInvalid, match="another vault"):
        open_sealed_keys(data, name, vault(), ring)


def test_a_flipped_byte_is_found() -> None:
    name, data = make_sealed_keys(KEYS, vault(), NOW)
    with pytest.raises(ObjectCorrupt):
        open_sealed_keys(data[:-1] + bytes([data[-1] ^ 1]), name, vault(), Keyring([RECOVERY_KEY]))


def test_the_custodians_of_another_city_are_told_so() -> None:
    require_custodians(RECOVERY_KEY, vault())
    with pytest.raises(WrongKey, match="another"):
        require_custodians(SealKey.from_seed(RECOVERY, os.urandom(32)), vault())
