"""How the vault's writer and reader reach the store from a department's server: by asking over the link.

The agent holds no store credential. For each pack it asks first; the controller answers with one signed upload, or with
"send it through me" (``route: tunnel``, a folder store), or with "it is there already". Reading works the same way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from drbackup.errors import ProtocolViolation, StoreRefused
from drbackup.wire.messages import (
    Answer,
    Fetch,
    Fetched,
    GetHttp,
    Locate,
    Located,
    Place,
    PutHttp,
    PutRelay,
    Stored,
    Upload,
    Uploaded,
)
from drbackup_agent.link import Link

_IDS_IN_ONE_QUESTION = 4096
_KEPT_URLS = 256
_URL_MARGIN_SECONDS = 20.0  # a read that begins now must also end before the URL does


class Limiter(Protocol):
    """A bandwidth limit: :meth:`take` returns when ``size`` bytes may be sent."""

    def take(self, size: int) -> None: ...


class WireDepot:
    """Where a point's writer puts its packs: :class:`drbackup.vault.writer.Depot` over the link. Thread-safe."""

    def __init__(self, link: Link, limiter: Limiter | None = None) -> None:
        self._link = link
        self._limiter = limiter

    def locate(self, ids: Sequence[bytes]) -> dict[bytes, Place]:
        """Places of those chunks that the domain has already; the others are missing from the result."""
        found: dict[bytes, Place] = {}
        for start in range(0, len(ids), _IDS_IN_ONE_QUESTION):
            batch = ids[start : start + _IDS_IN_ONE_QUESTION]
            answer, _ = self._link.ask(Locate(0, b"".join(batch)))
            if not isinstance(answer, Located):
                raise _unfitting("Locate", answer)
            asked = set(batch)
            found.update((place.id, place) for place in answer.places if place.id in asked)
        return found

    def put(self, kind: str, pack: bytes, data: bytes | memoryview, places: Sequence[Place] = ()) -> None:
        """Returns when the pack is durable and the controller remembers its ``places``."""
        try:
            self._put(kind, pack, data, places)
        except StoreRefused:
            # Most often the signed address ran out while we waited for bandwidth: one new one, then it is an error.
            self._link.check()
            self._put(kind, pack, data, places)

    def _put(self, kind: str, pack: bytes, data: bytes | memoryview, places: Sequence[Place]) -> None:
        way, _ = self._link.ask(Upload(0, kind, pack, len(data)))
        if isinstance(way, Stored):
            return
        report = Uploaded(0, kind, pack, len(data), tuple(places))
        if not isinstance(way, PutHttp | PutRelay):
            raise _unfitting("Upload", way)
        if self._limiter is not None:
            self._limiter.take(len(data))
        if isinstance(way, PutHttp):
            from drbackup.stores.signed import put_signed  # with its HTTP library: half the agent's start

            put_signed(way.url, way.headers, data)
            answer, _ = self._link.ask(report)
        else:
            answer, _ = self._link.ask(report, data)
        if not isinstance(answer, Stored):
            raise _unfitting("Uploaded", answer)


class WireFetch:
    """Where a point's reader gets bytes of packs: :class:`drbackup.vault.reader.Fetch` over the link. Thread-safe."""

    def __init__(self, link: Link, limiter: Limiter | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._link = link
        self._limiter = limiter
        self._clock = clock
        self._lock = threading.Lock()
        self._urls: dict[tuple[str, str, bytes], tuple[str, float]] = {}  # pack → (address, usable until)

    def fetch(self, kind: str, domain: str, pack: bytes, offset: int, length: int) -> bytes:
        """Bytes ``[offset, offset+length)`` of a pack; what is there when the range reaches past its end."""
        self._link.check()
        if self._limiter is not None:
            self._limiter.take(length)
        name = (kind, domain, pack)
        known = self._known(name)
        if known is not None:
            try:
                return _get(known, offset, length)
            except StoreRefused:  # the address ran out early: ask for a new one
                self._forget(name)
        answer, body = self._link.ask(Fetch(0, kind, domain, pack, offset, length))
        if isinstance(answer, Fetched):
            return body
        if not isinstance(answer, GetHttp):
            raise _unfitting("Fetch", answer)
        self._remember(name, answer)
        return _get(answer.url, offset, length)

    def _known(self, name: tuple[str, str, bytes]) -> str | None:
        with self._lock:
            url, until = self._urls.get(name, ("", 0.0))
        return url if url and self._clock() < until else None

    def _remember(self, name: tuple[str, str, bytes], answer: GetHttp) -> None:
        with self._lock:
            if len(self._urls) >= _KEPT_URLS:
                self._urls.pop(next(iter(self._urls)))
            self._urls[name] = (answer.url, self._clock() + answer.valid_seconds - _URL_MARGIN_SECONDS)

    def _forget(self, name: tuple[str, str, bytes]) -> None:
        with self._lock:
            self._urls.pop(name, None)


def _get(url: str, offset: int, length: int) -> bytes:
    """What is there of a range, fewer bytes past the end."""
    from drbackup.stores.signed import get_signed

    return get_signed(url, offset, length, short_ok=True)


def _unfitting(question: str, answer: Answer) -> ProtocolViolation:
    return ProtocolViolation(f"{question} was answered by {type(answer).__name__}")
