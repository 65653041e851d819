"""How the vault's writer on a department's server stores packs: it asks the controller over the link.

The agent holds no store credential. For each pack it asks first. The controller answers with one signed upload, with
"send it through me" (``route: tunnel``, a folder store), or with "it is there already". Reading works the same way:
:mod:`drbackup_agent.session.download`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from drbackup.errors import ProtocolViolation, StoreRefused, say
from drbackup.wire.messages import (
    Answer,
    Locate,
    Located,
    Place,
    PutHttp,
    PutRelay,
    Stored,
    Upload,
    Uploaded,
)
from drbackup_agent.session.link import Link

_IDS_IN_ONE_QUESTION = 4096


class Limiter(Protocol):
    """A bandwidth limit in bytes per second."""

    def take(self, size: int) -> None:
        """``size`` bytes may be sent once this returns."""
        ...


class WireDestination:
    """A :class:`~drbackup.vault.write.pack_sink.PackDestination` over the link, for a point's writer. Thread-safe."""

    def __init__(self, link: Link, limiter: Limiter | None = None) -> None:
        self._link = link
        self._limiter = limiter

    def locate(self, ids: Sequence[bytes]) -> dict[bytes, Place]:
        """Chunk id → place, for those of ``ids`` that the domain already has. The others are not in the result."""
        found: dict[bytes, Place] = {}
        for start in range(0, len(ids), _IDS_IN_ONE_QUESTION):
            batch = ids[start : start + _IDS_IN_ONE_QUESTION]
            answer, _ = self._link.ask(Locate(0, b"".join(batch)))
            if not isinstance(answer, Located):
                raise unfitting("Locate", answer)
            asked = set(batch)
            found.update((place.id, place) for place in answer.places if place.id in asked)
        return found

    def put(self, kind: str, pack: bytes, data: bytes | memoryview, places: Sequence[Place] = ()) -> None:
        """The pack is durable and the controller has its ``places`` once this returns.

        Raises :class:`StoreRefused` when the store refuses the upload twice, and what :meth:`Link.ask` raises.
        """
        try:
            self._put(kind, pack, data, places)
        except StoreRefused:
            # Most often the signed URL expired while we waited for bandwidth. A second refusal is an error.
            self._link.check()
            self._put(kind, pack, data, places)

    def _put(self, kind: str, pack: bytes, data: bytes | memoryview, places: Sequence[Place]) -> None:
        way, _ = self._link.ask(Upload(0, kind, pack, len(data)))
        if isinstance(way, Stored):
            return
        report = Uploaded(0, kind, pack, len(data), tuple(places))
        if not isinstance(way, PutHttp | PutRelay):
            raise unfitting("Upload", way)
        if self._limiter is not None:
            self._limiter.take(len(data))
        if isinstance(way, PutHttp):
            from drbackup.stores.s3.signed import put_signed  # with its HTTP library: half the agent's start

            put_signed(way.url, way.headers, data)
            answer, _ = self._link.ask(report)
        else:
            answer, _ = self._link.ask(report, data)
        if not isinstance(answer, Stored):
            raise unfitting("Uploaded", answer)


def unfitting(question: str, answer: Answer) -> ProtocolViolation:
    """The error for an answer of a kind that does not fit the question."""
    return ProtocolViolation(say("{question} was answered by {kind}", question=question, kind=type(answer).__name__))
