"""A server in an enemy's hands that thinks of the day after: it stores chunks that do not hold what their names say.

Run as a program. Its point looks sound, and is let go. What counts is what stays behind: a later, honest run finds its
own chunks' names in the vault and does not send them. ``POISON``: "content" seals rubbish under the true chunk's name,
"places" seals the truth and reports it where it is not, "kinds" stores contents as a tree's; empty: an honest agent.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import msgspec

from drbackup.vault.suite import chunk_id
from drbackup.vault.write import pack_sink
from drbackup.wire.messages import Job, Place, Result
from drbackup_agent.serve import end_process_group, own_process_group, serve, take_streams
from drbackup_agent.session.link import Link
from drbackup_agent.session.upload import WireDestination
from tests.support.doubles import tree_agent

_put = WireDestination.put
_MARK = b"rubbish"


def poison(job: Job, link: Link, state: Path, skew_ns: int) -> Result:
    lies = {"content": _content, "places": _places, "kinds": _kinds, "": tree_agent.copy_tree}
    return lies[os.environ.get("POISON", "")](job, link, state, skew_ns)


def _content(job: Job, link: Link, state: Path, skew_ns: int) -> Result:
    """Every file's bytes are exchanged behind the name they would have had."""
    read = Path.read_bytes
    true: dict[bytes, bytes] = {}

    def rubbish(path: Path) -> bytes:
        data = read(path)
        other = (_MARK * len(data))[: len(data)]
        true[other] = data
        return other

    def named(key: bytes, data: bytes) -> bytes:
        return chunk_id(key, true.get(bytes(data), data))

    with mock.patch.object(Path, "read_bytes", rubbish), mock.patch.object(pack_sink, "chunk_id", named):
        return tree_agent.copy_tree(job, link, state, skew_ns)


def _places(job: Job, link: Link, state: Path, skew_ns: int) -> Result:
    def put(
        self: WireDestination, kind: str, pack: bytes, data: bytes | memoryview, places: Sequence[Place], **more: object
    ) -> None:
        if kind == "p":
            places = [msgspec.structs.replace(place, offset=place.offset - 1) for place in places]
        _put(self, kind, pack, data, places, **more)  # type: ignore[arg-type]

    with mock.patch.object(WireDestination, "put", put):
        return tree_agent.copy_tree(job, link, state, skew_ns)


def _kinds(job: Job, link: Link, state: Path, skew_ns: int) -> Result:
    def put(
        self: WireDestination, kind: str, pack: bytes, data: bytes | memoryview, places: Sequence[Place], **more: object
    ) -> None:
        _put(self, "t" if kind == "p" else kind, pack, data, places, **more)  # type: ignore[arg-type]

    with mock.patch.object(WireDestination, "put", put):
        return tree_agent.copy_tree(job, link, state, skew_ns)


def main() -> int:
    streams = take_streams()
    own_process_group()
    try:
        return serve(poison, Path("/nonexistent"), streams)
    finally:
        end_process_group()


if __name__ == "__main__":
    sys.exit(main())
