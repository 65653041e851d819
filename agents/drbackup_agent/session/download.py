"""How the vault's reader on a department's server gets bytes of packs: it asks the controller over the link.

For each pack the controller answers with a signed URL, which is kept while it is valid, or with the bytes themselves.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from drbackup.errors import StoreRefused
from drbackup.system.memory import huge_buffer
from drbackup.wire.messages import Fetch, Fetched, GetHttp
from drbackup_agent.session.link import Link
from drbackup_agent.session.upload import Limiter, unfitting

_STRETCH_BY_LINK, _STRETCH_BY_URL = 4 << 20, 40 << 20  # bytes; the second is a whole pack
_KEPT_URLS = 256
_URL_MARGIN_SECONDS = 20.0  # a read that begins now must also end before the URL does


class WireFetch:
    """A :class:`~drbackup.vault.read.read_ahead.PackFetch` over the link, for a point's reader. Thread-safe."""

    def __init__(self, link: Link, limiter: Limiter | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._link = link
        self._limiter = limiter
        self._clock = clock
        self._mutex = threading.Lock()
        self._urls: dict[tuple[str, str, bytes], tuple[str, float]] = {}  # pack → (URL, usable until on the clock)

    @property
    def stretch(self) -> int:
        """Bytes to fetch at once: 4 MiB over the link, so that both sides work at once; from a store a whole pack."""
        with self._mutex:
            return _STRETCH_BY_URL if self._urls else _STRETCH_BY_LINK

    def fetch(self, kind: str, domain: str, pack: bytes, offset: int, length: int) -> bytes | memoryview:
        """Bytes ``[offset, offset+length)`` of a pack, fewer where the range reaches past its end.

        Raises what :meth:`Link.ask` raises, and the store's errors.
        """
        self._link.check()
        if self._limiter is not None:
            self._limiter.take(length)
        name = (kind, domain, pack)
        known = self._known(name)
        if known is not None:
            try:
                return _get(known, offset, length)
            except StoreRefused:  # the URL expired early: ask for a new one
                self._forget(name)
        answer, body = self._link.ask(Fetch(0, kind, domain, pack, offset, length))
        if isinstance(answer, Fetched):
            return body
        if not isinstance(answer, GetHttp):
            raise unfitting("Fetch", answer)
        self._remember(name, answer)
        return _get(answer.url, offset, length)

    def _known(self, name: tuple[str, str, bytes]) -> str | None:
        with self._mutex:
            url, until = self._urls.get(name, ("", 0.0))
        return url if url and self._clock() < until else None

    def _remember(self, name: tuple[str, str, bytes], answer: GetHttp) -> None:
        with self._mutex:
            if len(self._urls) >= _KEPT_URLS:
                self._urls.pop(next(iter(self._urls)))
            self._urls[name] = (answer.url, self._clock() + answer.valid_seconds - _URL_MARGIN_SECONDS)

    def _forget(self, name: tuple[str, str, bytes]) -> None:
        with self._mutex:
            self._urls.pop(name, None)


def _get(url: str, offset: int, length: int) -> memoryview:
    """The bytes of a range, fewer where it reaches past the pack's end."""
    from drbackup.stores.s3.signed import get_signed_into  # with its HTTP library: half the agent's start

    room = memoryview(huge_buffer(length))
    return room[: get_signed_into(url, offset, room)]
