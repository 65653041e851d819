"""An agent in an enemy's hands: it copies honestly, and then says something else. Run as a program.

``LYING_AGENT``: the lie it tells, one of :data:`LIES`; empty: none. ``LYING_AGENT_PACK``: a pack's name, hex.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from drbackup.model.point import SourceFacts
from drbackup.vault.tree import Root
from drbackup.wire.messages import BackupResult, Job, Result
from drbackup_agent.serve import end_process_group, own_process_group, serve, take_streams
from drbackup_agent.session.link import Link
from tests.support.doubles.tree_agent import copy_tree

_change = msgspec.structs.replace
_encode = msgspec.msgpack.encode


def _root(result: BackupResult) -> Root:
    return msgspec.msgpack.decode(result.root, type=Root)


def _with_root(result: BackupResult, **changed: object) -> BackupResult:
    return _change(result, root=_encode(_change(_root(result), **changed)))


def _with_top(result: BackupResult, **changed: object) -> BackupResult:
    return _with_root(result, top=_change(_root(result).top, **changed))


def _counting(number: int) -> Callable[[BackupResult], BackupResult]:
    """Result and root agree on a number that no database holds."""
    same = {"entries": number, "files": number, "content_bytes": number}
    return lambda result: _with_root(_change(result, **same), **same)


def _with_facts(**changed: object) -> Callable[[BackupResult], BackupResult]:
    def lie(result: BackupResult) -> BackupResult:
        facts = msgspec.msgpack.decode(result.facts, type=dict[str, object])
        return _change(result, facts=_encode({**facts, **changed}))

    return lie


def _later(result: BackupResult) -> BackupResult:
    facts = msgspec.msgpack.decode(result.facts, type=SourceFacts)
    return _change(result, facts=_encode(SourceFacts(time.time_ns() + 10**15, facts.kind)))


def _without(result: BackupResult, unwanted: Callable[[bytes], bool]) -> BackupResult:
    packs = tuple(pack for pack in result.packs if not unwanted(pack))
    assert len(packs) < len(result.packs)
    return _with_root(_change(result, packs=packs), packs=len(packs))


def _of_another(result: BackupResult) -> BackupResult:
    pack = bytes.fromhex(os.environ["LYING_AGENT_PACK"])
    return _change(result, packs=(*result.packs, pack))


LIES: dict[str, Callable[[BackupResult], BackupResult]] = {
    "a root that is none": lambda result: _change(result, root=b"\xc1\xc1"),
    "an empty root": lambda result: _change(result, root=b""),
    "facts that are none": lambda result: _change(result, facts=b"\xc1"),
    "no packs": lambda result: _change(result, packs=()),
    "no packs, and a root that agrees": lambda result: _with_root(_change(result, packs=()), packs=0),
    "not the pack of the top": lambda result: _without(result, lambda pack: pack == b"t" + _root(result).top.pack),
    "not the packs of the contents": lambda result: _without(result, lambda pack: pack[:1] == b"p"),
    "more entries": lambda result: _change(result, entries=result.entries + 1),
    "more bytes": lambda result: _change(result, content_bytes=result.content_bytes << 10),
    "fewer rows than none": lambda result: _change(result, rows=-7),
    "a negative size stored": lambda result: _change(result, stored_bytes=-1),
    "a number of entries that no database holds": _counting(1 << 63),
    "a copy of tomorrow": _later,
    "an index among the packs": lambda result: _change(
        result, packs=(*result.packs, b"i" + hashlib.sha256(b"never").digest())
    ),
    "a top elsewhere in its pack": lambda result: _with_top(result, offset=_root(result).top.offset + 1),
    "a top of another name": lambda result: _with_top(result, id=bytes(32)),
    "a top of absurd size": lambda result: _with_top(result, raw=2**40),
    "a top of a negative number": lambda result: _with_top(result, ordinal=-1),
    "a pack that was never sent": lambda result: _change(
        result, packs=(*result.packs, b"p" + hashlib.sha256(b"never").digest())
    ),
    "a pack of another domain": _of_another,
    "a path instead of a pack": lambda result: _change(
        result, packs=(*result.packs, b"../../v1/vault".ljust(33, b"x"))
    ),
}

# Refused before the store is asked; tests/unit/controller/backup/test_agent_result.py tells them without an agent.
PLAIN_LIES: dict[str, Callable[[BackupResult], BackupResult]] = {
    "the greatest number there is": _counting((1 << 64) - 1),
    "more rows than any database holds": lambda result: _change(result, rows=1 << 63),
    "more new bytes than any database holds": lambda result: _change(result, new_bytes=1 << 63),
    "more stored bytes than any database holds": lambda result: _change(result, stored_bytes=1 << 63),
    "a canary of a far century": _with_facts(canary_ns=(1 << 64) - 1),
    "a canary of tomorrow": _with_facts(canary_ns=time.time_ns() + 86_400 * 10**9),
    "a canary before all time": _with_facts(canary_ns=-(1 << 63)),
    "a skew of centuries": _with_facts(skew_ns=1 << 63),
    "facts of many megabytes": _with_facts(notes=["x" * 1000] * 20_000),
    "a position of many megabytes": _with_facts(position="x" * (20 << 20)),
    "a root with a long tail": lambda result: _change(
        result, root=_encode([*msgspec.msgpack.decode(result.root), b"x" * (10 << 20)])
    ),
    "a root with endless arrays in it": lambda result: _change(
        result, root=b"\x97" + result.root[1:] + b"\x91" * 100_000 + b"\xc0"
    ),
    "facts with text that is none": lambda result: _change(
        result, facts=result.facts.replace(b"\xa5files", b"\xa5fil\xff\xff")
    ),
    "every pack a hundred times": lambda result: _change(result, packs=result.packs * 100),
}

LATER_LIES: dict[str, Callable[[BackupResult], BackupResult]] = {  # of an agent that was honest once: older pages stay
    "not the packs of the pages": lambda result: _without(
        result, lambda pack: pack[:1] == b"t" and pack != b"t" + _root(result).top.pack
    ),
}


def lie(job: Job, link: Link, state: Path, skew_ns: int) -> Result:
    result = copy_tree(job, link, state, skew_ns)
    assert isinstance(result, BackupResult)
    chosen = os.environ.get("LYING_AGENT", "")
    return {**LIES, **PLAIN_LIES, **LATER_LIES}[chosen](result) if chosen else result


def main() -> int:
    streams = take_streams()
    own_process_group()
    try:
        return serve(lie, Path("/nonexistent"), streams)
    finally:
        end_process_group()


if __name__ == "__main__":
    sys.exit(main())
