"""What an agent says of its copy is held against what can be, before anything is written that stays."""

from __future__ import annotations

import time

import msgspec
import pytest

from drbackup.controller.backup.agent_result import validate_result
from drbackup.errors import ProtocolViolation
from drbackup.model.point import SourceFacts
from drbackup.vault.tree import Root
from drbackup.wire.messages import BackupResult, Place
from tests.support.doubles.lying_agent import PLAIN_LIES

encode = msgspec.msgpack.encode
PINNED = time.time_ns() - 10**9


def honest() -> BackupResult:
    top = Place(b"c" * 32, b"p" * 32, 0, 100, 50, 40)
    return BackupResult(
        root=encode(Root(top, 3, 2, -1, 900, 2)),
        packs=(b"p" + b"x" * 32, b"t" + b"p" * 32),
        facts=encode(SourceFacts(PINNED, "files", canary_ns=PINNED - 5, skew_ns=-7)),
        entries=3,
        files=2,
        rows=-1,
        content_bytes=900,
        new_bytes=900,
        stored_bytes=1000,
    )


def test_an_honest_result_is_believed() -> None:
    assert validate_result(honest(), PINNED, 30.0, now_ns=time.time_ns()).pinned_ns == PINNED


@pytest.mark.parametrize("lie", PLAIN_LIES)
def test_a_result_that_cannot_be_is_refused(lie: str) -> None:
    with pytest.raises(ProtocolViolation):
        validate_result(PLAIN_LIES[lie](honest()), PINNED, 30.0, now_ns=time.time_ns())
