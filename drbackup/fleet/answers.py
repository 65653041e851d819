"""The controller's answers to an agent's questions.

The agent may have been taken over, so every number it sends is checked here before the handler sees it. Names have 32
bytes, bodies have the announced size, and a pack is reported only after its upload was granted. A refusal by the
handler becomes :class:`~drbackup.wire.messages.Refused`. What the protocol does not allow ends the session.
"""

from __future__ import annotations

import hashlib
import threading
from typing import Literal, Protocol

from drbackup.errors import DrbackupError, ObjectCorrupt, ProtocolViolation, Said, say
from drbackup.stores.base import SignedPut
from drbackup.wire.error_fields import fields_of
from drbackup.wire.framing import MAX_BODY, Body
from drbackup.wire.messages import (
    Answer,
    Fetch,
    Fetched,
    GetHttp,
    Locate,
    Located,
    Note,
    Pinned,
    Place,
    Proceed,
    Progress,
    PutHttp,
    PutRelay,
    Question,
    Refused,
    Stored,
    Upload,
    Uploaded,
)

NAME_BYTES = 32
URL_SECONDS = 240  # how long an agent may use one signed URL for reading; stores sign for longer
_KINDS = ("p", "t", "i")
_POSITION_MOST = 64 << 10  # characters; an LSN, a snapshot's name or the like


class RequestHandler(Protocol):
    """The obligations of what answers one session's agent. Its methods are called from several threads at once.

    They raise only :class:`~drbackup.errors.DrbackupError`, which the agent is told.
    """

    def locate(self, ids: bytes) -> tuple[Place, ...]:
        """The places of those chunks that the domain has. ``ids``: 32-byte chunk ids, joined."""
        ...

    def upload(self, kind: str, pack: bytes, size: int) -> SignedPut | Literal["stored"] | None:
        """The way of a pack into the store: a signed upload, ``stored`` when it is there, None for this session.

        ``size`` in bytes.
        """
        ...

    def uploaded(self, kind: str, pack: bytes, size: int, places: tuple[Place, ...], body: Body | None) -> None:
        """A guarantee that the pack is durable in the store and that its places are kept.

        With ``body``, whose SHA-256 is ``pack``, the pack is still to be stored. With None the agent uploaded it.
        """
        ...

    def fetch(self, kind: str, domain: str, pack: bytes, offset: int, length: int) -> bytes | str:
        """These bytes of the pack, or a URL to read the pack. Must refuse what the job's points do not need.

        ``offset`` and ``length`` in bytes.
        """
        ...

    def pinned(self, pinned_ns: int, position: str) -> None:
        """The instant (ns since the epoch) is durable. For a group this returns when every member is pinned."""
        ...

    def progress(self, news: Progress) -> None:
        """The news is passed on. Must be quick: no I/O that can block."""
        ...

    def note(self, note: Note) -> None:
        """The note is passed on. Must be quick: no I/O that can block."""
        ...


class Answerer:
    """The answers of one session, and which uploads it granted. Thread-safe."""

    def __init__(self, handler: RequestHandler) -> None:
        self._handler = handler
        self._mutex = threading.Lock()
        self._granted: dict[tuple[str, bytes], str] = {}  # (kind, pack) → "http" or "relay"

    def answer(self, question: Question, body: Body) -> tuple[Answer, bytes]:
        """The answer and its body. Raises :class:`ProtocolViolation` for a question that the protocol forbids."""
        try:
            return self._decide(question, body)
        except ProtocolViolation:
            raise
        except DrbackupError as refusal:
            return refused(question.ask, refusal), b""

    def _decide(self, question: Question, body: Body) -> tuple[Answer, bytes]:
        if not isinstance(question, Uploaded) and body:
            raise ProtocolViolation(
                say("{kind} came with a body of {n} bytes", kind=type(question).__name__, n=len(body))
            )
        match question:
            case Locate():
                _require(len(question.ids) % NAME_BYTES == 0, say("chunk ids are not whole"))
                return Located(question.ask, self._handler.locate(question.ids)), b""
            case Upload():
                return self._grant(question), b""
            case Uploaded():
                return self._take(question, body), b""
            case Fetch():
                return self._hand_out(question)
            case Pinned():
                _require(0 < question.pinned_ns < 1 << 63, say("an instant of {ns} ns", ns=question.pinned_ns))
                _require(
                    len(question.position) <= _POSITION_MOST, say("a position of {n} letters", n=len(question.position))
                )
                self._handler.pinned(question.pinned_ns, question.position)
                return Proceed(question.ask), b""

    def _grant(self, question: Upload) -> Answer:
        _require_pack(question.kind, question.pack)
        _require(0 < question.size <= MAX_BODY, say("a pack of {size} bytes", size=question.size))
        put = self._handler.upload(question.kind, question.pack, question.size)
        if put == "stored":
            return Stored(question.ask)
        with self._mutex:
            self._granted[question.kind, question.pack] = "relay" if put is None else "http"
        return PutRelay(question.ask) if put is None else PutHttp(question.ask, put.url, dict(put.headers))

    def _take(self, question: Uploaded, body: Body) -> Answer:
        _require_pack(question.kind, question.pack)
        with self._mutex:
            way = self._granted.get((question.kind, question.pack))
        _require(way is not None, say("a pack was reported that was never granted"))
        _require(bool(body) == (way == "relay"), say("a pack granted by {way} came the other way", way=way))
        if way == "relay":
            _require(
                len(body) == question.size, say("a pack of {size} bytes came as {n}", size=question.size, n=len(body))
            )
            if hashlib.sha256(body).digest() != question.pack:
                raise ObjectCorrupt("a relayed pack does not hash to its name", where=question.pack.hex())
        self._handler.uploaded(
            question.kind, question.pack, question.size, question.places, body if way == "relay" else None
        )
        with self._mutex:  # only now: a refused pack may be sent again under the same grant
            self._granted.pop((question.kind, question.pack), None)
        return Stored(question.ask)

    def _hand_out(self, question: Fetch) -> tuple[Answer, bytes]:
        _require_pack(question.kind, question.pack)
        _require(question.offset >= 0 and 0 < question.length <= MAX_BODY, say("an impossible range"))
        found = self._handler.fetch(question.kind, question.domain, question.pack, question.offset, question.length)
        if isinstance(found, str):
            return GetHttp(question.ask, found, URL_SECONDS), b""
        return Fetched(question.ask), found


def refused(ask: int, error: DrbackupError) -> Refused:
    """The answer that carries ``error`` to the agent. ``ask``: the question's number."""
    return Refused(ask, error.code, fields_of(error))


def _require_pack(kind: str, pack: bytes) -> None:
    _require(kind in _KINDS, say("no such kind of pack: {kind}", kind=repr(kind[:20])))
    _require(len(pack) == NAME_BYTES, say("a pack name of {n} bytes", n=len(pack)))


def _require(holds: bool, otherwise: Said) -> None:
    if not holds:
        raise ProtocolViolation(otherwise)
