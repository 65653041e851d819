"""What an agent in an enemy's hands may try with its questions."""

from __future__ import annotations

import hashlib
from typing import Literal

import pytest

from drbackup.errors import ObjectMissing, ProtocolViolation, StoreUnavailable
from drbackup.fleet.answers import URL_SECONDS, Answerer
from drbackup.stores.base import SignedPut
from drbackup.wire.framing import MAX_BODY, Body
from drbackup.wire.messages import (
    Fetch,
    Fetched,
    GetHttp,
    Locate,
    PutHttp,
    PutRelay,
    Question,
    Refused,
    Stored,
    Upload,
    Uploaded,
)
from tests.support.doubles.memory_handler import MemoryHandler

DATA = b"seven b"
NAME = hashlib.sha256(DATA).digest()


class SigningHandler(MemoryHandler):
    def upload(self, kind: str, pack: bytes, size: int) -> SignedPut | Literal["stored"] | None:
        return SignedPut("https://store/x?s", {"content-length": str(size)})

    def uploaded(self, kind: str, pack: bytes, size: int, places: object, body: Body | None) -> None:
        assert body is None
        self.packs[pack] = b"in the store"

    def fetch(self, kind: str, domain: str, pack: bytes, offset: int, length: int) -> bytes | str:
        return "https://store/x?s"


def test_a_relayed_pack_is_granted_then_stored() -> None:
    handler = MemoryHandler()
    answerer = Answerer(handler)
    assert answerer.answer(Upload(1, "p", NAME, len(DATA)), b"") == (PutRelay(1), b"")
    assert answerer.answer(Uploaded(2, "p", NAME, len(DATA)), DATA) == (Stored(2), b"")
    assert answerer.answer(Upload(3, "p", NAME, len(DATA)), b"") == (Stored(3), b"")
    assert handler.packs == {NAME: DATA}


def test_a_signed_upload_is_granted_with_its_headers() -> None:
    answerer = Answerer(SigningHandler())
    granted = answerer.answer(Upload(1, "t", NAME, 7), b"")
    assert granted == (PutHttp(1, "https://store/x?s", {"content-length": "7"}), b"")
    assert answerer.answer(Uploaded(2, "t", NAME, 7), b"") == (Stored(2), b"")
    assert answerer.answer(Fetch(3, "t", "d1", NAME, 0, 7), b"")[0] == GetHttp(3, "https://store/x?s", URL_SECONDS)


@pytest.mark.parametrize(
    ("question", "body"),
    [
        (Locate(1, b"x" * 33), b""),
        (Locate(1, b""), b"a body"),
        (Upload(1, "q", NAME, 7), b""),
        (Upload(1, "../..", NAME, 7), b""),
        (Upload(1, "p", NAME[:31], 7), b""),
        (Upload(1, "p", NAME, 0), b""),
        (Upload(1, "p", NAME, -1), b""),
        (Upload(1, "p", NAME, MAX_BODY + 1), b""),
        (Uploaded(1, "p", NAME, 7), DATA),
        (Uploaded(1, "p", NAME, 7), b""),
        (Fetch(1, "p", "d1", NAME, -1, 7), b""),
        (Fetch(1, "p", "d1", NAME, 0, 0), b""),
        (Fetch(1, "p", "d1", NAME, 0, MAX_BODY + 1), b""),
        (Fetch(1, "p", "d1", b"", 0, 7), b""),
    ],
    ids=str,
)
def test_what_no_honest_agent_asks_ends_the_session(question: Question, body: bytes) -> None:
    handler = MemoryHandler()
    with pytest.raises(ProtocolViolation):
        Answerer(handler).answer(question, body)
    assert handler.packs == {}


def test_a_pack_that_came_the_other_way_than_granted_ends_the_session() -> None:
    relay, signed = Answerer(MemoryHandler()), Answerer(SigningHandler())
    relay.answer(Upload(1, "p", NAME, 7), b"")
    with pytest.raises(ProtocolViolation, match="came the other way"):
        relay.answer(Uploaded(2, "p", NAME, 7), b"")
    signed.answer(Upload(1, "p", NAME, 7), b"")
    with pytest.raises(ProtocolViolation, match="came the other way"):
        signed.answer(Uploaded(2, "p", NAME, 7), DATA)


@pytest.mark.parametrize("kind", ["p", "t", "i"])
def test_a_relayed_pack_must_hash_to_its_name(kind: str) -> None:
    handler = MemoryHandler()
    answerer = Answerer(handler)
    answerer.answer(Upload(1, kind, NAME, 7), b"")
    refusal, _ = answerer.answer(Uploaded(2, kind, NAME, 7), b"7 other")
    assert isinstance(refusal, Refused)
    assert refusal.code == "ObjectCorrupt"
    assert handler.packs == {}


def test_what_the_store_refused_may_be_sent_again_under_the_same_grant() -> None:
    class Moody(MemoryHandler):
        ill = True

        def uploaded(self, *arguments: object) -> None:
            if self.ill:
                self.ill = False
                raise StoreUnavailable("503", hint="wait")
            super().uploaded(*arguments)  # type: ignore[arg-type]

    answerer = Answerer(Moody())
    answerer.answer(Upload(1, "p", NAME, 7), b"")
    refusal, _ = answerer.answer(Uploaded(2, "p", NAME, 7), DATA)
    assert isinstance(refusal, Refused)
    assert (refusal.code, refusal.fields["hint"]) == ("StoreUnavailable", "wait")
    assert answerer.answer(Uploaded(3, "p", NAME, 7), DATA) == (Stored(3), b"")


def test_a_fetch_through_the_wire_carries_its_bytes_and_a_missing_pack_is_refused() -> None:
    handler = MemoryHandler()
    handler.packs[NAME] = DATA
    answerer = Answerer(handler)
    assert answerer.answer(Fetch(1, "p", "d1", NAME, 2, 3), b"") == (Fetched(1), DATA[2:5])
    refusal, _ = answerer.answer(Fetch(2, "p", "d1", bytes(32), 0, 3), b"")
    assert isinstance(refusal, Refused)
    assert refusal.code == ObjectMissing.__name__
