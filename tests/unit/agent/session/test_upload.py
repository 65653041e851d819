"""The destination and the fetcher over a real link, with a real HTTP server behind the signed addresses."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from drbackup.errors import DrbackupError, ProtocolViolation, StoreRefused
from drbackup.fleet.answers import Answerer
from drbackup.stores.base import SignedPut
from drbackup.wire.framing import Body
from drbackup.wire.messages import Fetch, Locate, Pinned, Place, Proceed, Question, Upload, Uploaded
from drbackup_agent.session.download import WireFetch
from drbackup_agent.session.link import Link
from drbackup_agent.session.upload import WireDestination
from tests.support.doubles.memory_handler import MemoryHandler
from tests.support.doubles.wire_pair import WirePair, wire_pair

DATA = b"sealed bytes" * 1000
NAME = hashlib.sha256(DATA).digest()


class _Handler(BaseHTTPRequestHandler):
    """Just enough of a store: PUT keeps, GET serves ranges, ``refuse`` answers 403 that many times."""

    objects: dict[str, bytes]
    refuse: list[int]

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self._refused():
            return
        self.objects[self.path.partition("?")[0]] = body
        self._answer(200, b"")

    def do_GET(self) -> None:
        if self._refused():
            return
        first, last = (int(part) for part in self.headers["range"].removeprefix("bytes=").split("-"))
        self._answer(206, self.objects[self.path.partition("?")[0]][first : last + 1])

    def _refused(self) -> bool:
        if self.refuse and self.refuse[0]:
            self.refuse[0] -= 1
            self._answer(403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
            return True
        return False

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


class WebHandler(MemoryHandler):
    """Signs addresses of the small web store."""

    def __init__(self) -> None:
        super().__init__()
        self.handler = type("Handler", (_Handler,), {"objects": {}, "refuse": [0]})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.asked_uploads = 0
        self.asked_fetches = 0
        self.reported: list[bytes] = []

    def _url(self, pack: bytes) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/{pack.hex()}?X-Amz-Signature=s"

    def upload(self, kind: str, pack: bytes, size: int) -> SignedPut:
        self.asked_uploads += 1
        return SignedPut(self._url(pack), {"content-length": str(size)})

    def uploaded(self, kind: str, pack: bytes, size: int, places: tuple[Place, ...], body: Body | None) -> None:
        assert body is None
        assert self.handler.objects[f"/{pack.hex()}"]  # type: ignore[attr-defined]
        self.reported.append(pack)

    def fetch(self, kind: str, domain: str, pack: bytes, offset: int, length: int) -> str:
        self.asked_fetches += 1
        return self._url(pack)


Serve = Callable[[MemoryHandler], Link]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A link whose questions a handler answers."""
    pairs: list[WirePair] = []

    def start(handler: MemoryHandler) -> Link:
        pair = wire_pair()
        pairs.append(pair)
        link = Link(pair.agent)
        threading.Thread(target=link.listen, daemon=True).start()
        threading.Thread(target=_answer_all, args=(pair, handler), daemon=True).start()
        return link

    yield start
    for pair in pairs:
        pair.cut()
        pair.close()


def _answer_all(pair: WirePair, handler: MemoryHandler) -> None:
    answerer = Answerer(handler)
    try:
        while True:
            question, body = pair.controller.receive()
            assert isinstance(question, Question)
            pair.controller.send(*answerer.answer(question, body))
    except DrbackupError:
        """The test is over."""


@pytest.fixture
def web() -> Iterator[WebHandler]:
    handler = WebHandler()
    yield handler
    handler.server.shutdown()
    handler.server.server_close()


def test_a_pack_goes_straight_to_the_store_by_a_signed_address(serve: Serve, web: WebHandler) -> None:
    WireDestination(serve(web)).put("p", NAME, DATA, ())
    assert web.handler.objects == {f"/{NAME.hex()}": DATA}  # type: ignore[attr-defined]
    assert web.reported == [NAME]


def test_an_address_that_ran_out_is_asked_for_once_more(serve: Serve, web: WebHandler) -> None:
    web.handler.refuse[0] = 1  # type: ignore[attr-defined]
    WireDestination(serve(web)).put("p", NAME, DATA, ())
    assert (web.asked_uploads, web.reported) == (2, [NAME])


def test_a_store_that_keeps_refusing_is_an_error_and_nothing_is_reported(serve: Serve, web: WebHandler) -> None:
    web.handler.refuse[0] = 9  # type: ignore[attr-defined]
    with pytest.raises(StoreRefused) as caught:
        WireDestination(serve(web)).put("p", NAME, DATA, ())
    assert "Signature" not in str(caught.value)
    assert web.reported == []


def test_without_a_route_the_pack_goes_through_the_wire(serve: Serve) -> None:
    handler = MemoryHandler()
    WireDestination(serve(handler)).put("t", NAME, memoryview(DATA), ())
    assert handler.packs == {NAME: DATA}


def test_a_pack_that_is_there_already_is_not_sent(serve: Serve) -> None:
    handler = MemoryHandler()
    handler.packs[NAME] = b"kept as it is"
    WireDestination(serve(handler)).put("p", NAME, DATA, ())
    assert handler.packs == {NAME: b"kept as it is"}


def test_every_upload_passes_the_limiter_first(serve: Serve) -> None:
    class Limiter:
        taken: list[int] = []  # noqa: RUF012

        def take(self, size: int) -> None:
            self.taken.append(size)

    WireDestination(serve(MemoryHandler()), Limiter()).put("p", NAME, DATA, ())
    assert Limiter.taken == [len(DATA)]


def test_many_chunks_are_asked_for_in_batches_and_foreign_answers_ignored(serve: Serve) -> None:
    class Knowing(MemoryHandler):
        batches: list[int] = []  # noqa: RUF012

        def locate(self, ids: bytes) -> tuple[Place, ...]:
            self.batches.append(len(ids) // 32)
            return Place(ids[:32], bytes(32), 0, 0, 1, 1), Place(b"\xff" * 32, bytes(32), 0, 0, 1, 1)

    ids = [number.to_bytes(32, "big") for number in range(5000)]
    found = WireDestination(serve(Knowing())).locate(ids)
    assert Knowing.batches == [4096, 904]
    assert set(found) == {ids[0], ids[4096]}


def test_a_pack_is_read_by_its_address_which_is_used_again(serve: Serve, web: WebHandler) -> None:
    web.handler.objects[f"/{NAME.hex()}"] = DATA  # type: ignore[attr-defined]
    fetch = WireFetch(serve(web))
    assert fetch.fetch("p", "d1", NAME, 5, 100) == DATA[5:105]
    assert fetch.fetch("p", "d1", NAME, len(DATA) - 4, 100) == DATA[-4:]
    assert web.asked_fetches == 1


def test_an_address_is_not_used_when_its_time_is_over(serve: Serve, web: WebHandler) -> None:
    web.handler.objects[f"/{NAME.hex()}"] = DATA  # type: ignore[attr-defined]
    now = [0.0]
    fetch = WireFetch(serve(web), clock=lambda: now[0])
    fetch.fetch("p", "d1", NAME, 0, 10)
    now[0] = 230.0
    fetch.fetch("p", "d1", NAME, 0, 10)
    assert web.asked_fetches == 2


def test_a_read_through_the_wire_gives_what_is_there(serve: Serve) -> None:
    handler = MemoryHandler()
    handler.packs[NAME] = DATA
    assert WireFetch(serve(handler)).fetch("p", "d1", NAME, len(DATA) - 3, 50) == DATA[-3:]


def test_an_answer_of_the_wrong_kind_is_a_violation() -> None:
    pair = wire_pair()
    link = Link(pair.agent)
    threading.Thread(target=link.listen, daemon=True).start()

    def wrong() -> None:
        question = pair.controller.receive()[0]
        assert isinstance(question, Locate | Upload | Uploaded | Fetch | Pinned)
        pair.controller.send(Proceed(question.ask))

    threading.Thread(target=wrong, daemon=True).start()
    with pytest.raises(ProtocolViolation, match="answered by Proceed"):
        WireDestination(link).locate([bytes(32)])
    pair.cut()
    pair.close()
