"""Evidence objects can't be altered, dropped from the middle or put in another order without being found out."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from drbackup.errors import ObjectCorrupt, SignatureInvalid, WrongKey
from drbackup.vault.evidence import ChainLink, Head, check_chain, make_evidence, open_statement, read_head
from drbackup.vault.keys import CATALOG, DRILL, RECOVERY, Keyring, SealKey, SigningKey
from drbackup.vault.layout import digest_in_name

SIGNER = SigningKey.from_seed(b"\x01" * 32)
KEYS = {role: SealKey.from_seed(role, bytes([number]) * 32) for number, role in enumerate((RECOVERY, DRILL, CATALOG))}
RECIPIENTS = tuple(key.recipient for key in KEYS.values())
START = datetime(2026, 11, 1, 3, tzinfo=UTC)


def chain(length: int) -> list[tuple[str, bytes]]:
    """So many objects, each after the one before."""
    link = ChainLink()
    made = []
    for number in range(length):
        name, data = make_evidence(
            f"statement {number}".encode(),
            subject="drill",
            when=START + timedelta(hours=number),
            after=link,
            recipients=RECIPIENTS,
            signer=SIGNER,
        )
        link = ChainLink(number + 1, bytes.fromhex(digest_in_name(name)))
        made.append((name, data))
    return made


def heads(objects: list[tuple[str, bytes]]) -> list[tuple[str, Head]]:
    return [(name, read_head(data, SIGNER.public, name)) for name, data in objects]


def test_a_whole_chain_is_good_and_names_its_head() -> None:
    objects = chain(4)
    report = check_chain(heads(objects))
    assert report.good
    assert report.head == ChainLink(4, hashlib.sha256(objects[-1][1]).digest())


def test_the_chain_does_not_rely_on_the_order_of_listing() -> None:
    assert check_chain(reversed(heads(chain(4)))).good


def test_every_flipped_byte_is_found() -> None:
    name, data = chain(1)[0]
    for at in range(0, len(data), 97):
        damaged = bytearray(data)
        damaged[at] ^= 1
        with pytest.raises(ObjectCorrupt):
            read_head(bytes(damaged), SIGNER.public, name)


def test_an_altered_object_under_a_fitting_name_fails_by_its_signature() -> None:
    name, data = chain(1)[0]
    damaged = bytearray(data)
    damaged[60] ^= 1
    renamed = name[:-64] + hashlib.sha256(bytes(damaged)).hexdigest()
    with pytest.raises((SignatureInvalid, ObjectCorrupt)):
        read_head(bytes(damaged), SIGNER.public, renamed)


def test_another_signers_object_is_refused() -> None:
    name, data = chain(1)[0]
    with pytest.raises(SignatureInvalid):
        read_head(data, SigningKey.from_seed(b"\x02" * 32).public, name)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_removed_object_breaks_the_chain(lost: int) -> None:
    objects = chain(4)
    del objects[lost]
    report = check_chain(heads(objects))
    assert not report.good
    assert f"number {lost + 1} is missing" in report.faults[0]


def test_an_object_from_another_chain_does_not_fit_in() -> None:
    ours, theirs = chain(3), chain(3)
    report = check_chain(heads([ours[0], theirs[1], ours[2]]))
    assert not report.good


def test_an_object_that_claims_an_earlier_instant_than_its_predecessor_is_found() -> None:
    first = chain(1)[0]
    link = ChainLink(1, bytes.fromhex(digest_in_name(first[0])))
    second = make_evidence(
        b"backdated", subject="drill", when=START - timedelta(days=1), after=link, recipients=RECIPIENTS, signer=SIGNER
    )
    report = check_chain(heads([first, second]))
    assert "older than" in report.faults[0]


def test_only_the_recovery_and_catalog_keys_open_the_statement() -> None:
    name, data = chain(1)[0]
    head = read_head(data, SIGNER.public, name)
    assert b"statement" not in data
    for role in (RECOVERY, CATALOG):
        assert open_statement(head, Keyring([KEYS[role]]), name) == b"statement 0"
    with pytest.raises(WrongKey):
        open_statement(head, Keyring([KEYS[DRILL]]), name)
