"""Who can open, who can sign, and what custodians hold."""

from __future__ import annotations

from itertools import combinations

import pytest

from drbackup.errors import ObjectCorrupt, SignatureInvalid, UsageError, WrongKey
from drbackup.vault.custody import join_shares, split_seed
from drbackup.vault.keys import (
    CATALOG,
    DRILL,
    RECOVERY,
    Keyring,
    SealKey,
    SigningKey,
    domain_keys,
    key_id,
    seal_to,
    verify,
)

SEED = bytes(range(32))


def test_the_same_seed_always_makes_the_same_key() -> None:
    assert SealKey.from_seed(DRILL, SEED).recipient == SealKey.from_seed(DRILL, SEED).recipient


def test_what_is_sealed_to_one_key_opens_with_it_and_no_other() -> None:
    mine, other = SealKey.from_seed(DRILL, SEED), SealKey.from_seed(DRILL, bytes(32))
    sealed = seal_to(mine.recipient, b"secret", b"here")
    assert mine.open(sealed, b"here") == b"secret"
    with pytest.raises(WrongKey):
        other.open(sealed, b"here")


def test_a_sealed_secret_does_not_open_in_another_context() -> None:
    key = SealKey.from_seed(RECOVERY, SEED)
    with pytest.raises(WrongKey):
        key.open(seal_to(key.recipient, b"secret", b"pack of domain a"), b"pack of domain b")


def test_a_keyring_says_which_roles_it_has_when_none_fits() -> None:
    ring = Keyring([SealKey.from_seed(CATALOG, SEED)])
    with pytest.raises(WrongKey, match="at hand: catalog"):
        ring.open([(key_id(b"someone else"), b"")], b"")


def test_damage_to_what_is_sealed_to_our_key_is_not_blamed_on_the_key() -> None:
    key = SealKey.from_seed(DRILL, SEED)
    sealed = bytearray(seal_to(key.recipient, b"secret", b"here"))
    sealed[40] ^= 1
    with pytest.raises(ObjectCorrupt, match="altered"):
        Keyring([key]).open([(key.id, bytes(sealed))], b"here")


def test_an_altered_message_fails_its_signature_by_name() -> None:
    signer = SigningKey.from_seed(SEED)
    signature = signer.sign(b"record")
    verify(signer.public, b"record", signature)
    with pytest.raises(SignatureInvalid, match="the record of monday"):
        verify(signer.public, b"recorD", signature, "the record of monday")


def test_domains_share_no_key() -> None:
    first, second = domain_keys(SEED, "a", []), domain_keys(SEED, "b", [])
    assert len({first.chunk_id_key.value, first.cut_key.value, second.chunk_id_key.value, second.cut_key.value}) == 4
    assert "***" in repr(first)


def test_any_three_of_five_custodians_bring_the_recovery_key_back_and_two_do_not() -> None:
    shares = split_seed(SEED, 3, 5)
    for some in combinations(shares, 3):
        assert join_shares(some) == SEED
    with pytest.raises(WrongKey):
        join_shares(shares[:2])


def test_a_misspelt_share_is_refused() -> None:
    shares = split_seed(SEED, 2, 3)
    with pytest.raises(WrongKey, match="do not join"):
        join_shares([shares[0], shares[1].replace(shares[1].split()[5], "academic", 1) + " acid"])


def test_one_share_for_many_is_refused_because_it_would_be_a_copy() -> None:
    with pytest.raises(UsageError):
        split_seed(SEED, 1, 3)
