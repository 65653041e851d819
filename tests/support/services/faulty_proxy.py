"""A real HTTP proxy in front of a store that misbehaves on command: status codes, silence, cuts, altered bytes.

Requests pass unchanged (the client signs for the proxy's address and the server checks that same Host header). A fault
is one :class:`Fault` in ``faults``; each request takes the first that fits and uses it up.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from tests.support.poll import PATIENCE

_HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}


@dataclass
class Fault:
    """What to do to the next ``times`` requests of ``method`` (any when empty). Seconds and bytes.

    ``together`` holds each until so many were under way at once, and :attr:`most` says how many ever were.
    ``status`` answers without asking the server, with ``code`` in an S3 error document. ``delay`` waits first.
    ``lose_answer`` lets the server do it and then hangs up. ``cut`` hangs up after so many bytes of the answer's body.
    ``alter`` changes the answer's body, ``alter_request`` the request's. ``slow`` sends a byte at a time, that apart.
    """

    times: int = 1
    method: str = ""
    matching: str = ""  # only paths that contain this
    together: int = 0
    status: int = 0
    code: str = ""
    message: str = ""
    delay: float = 0.0
    lose_answer: bool = False
    cut: int | None = None
    slow: float = 0.0
    alter: Callable[[bytes], bytes] | None = None
    alter_request: Callable[[bytes], bytes] | None = None
    headers: tuple[tuple[str, str], ...] = ()  # added to an answer that the proxy makes up itself
    most: int = field(default=0, init=False)  # requests of this fault that were under way at once
    under_way: int = field(default=0, init=False)


@dataclass
class FaultyProxy:
    """A running proxy. ``seen`` lists the requests' methods, those answered with a fault too; ``asked`` method and
    path with its query."""

    upstream: str
    faults: list[Fault] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._moved = threading.Condition()
        self._closing = threading.Event()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, method: str, path: str) -> Fault:
        """The fault that the request meets, until it is given back by :meth:`over`."""
        with self._moved:
            self.seen.append(method)
            self.asked.append((method, path))
            found = (f for f in self.faults if f.times and f.method in ("", method) and f.matching in path)
            fault = next(found, None) or Fault()
            fault.times -= 1
            fault.under_way += 1
            fault.most = max(fault.most, fault.under_way)
            self._moved.notify_all()
            self._moved.wait_for(lambda: fault.most >= fault.together or self._closing.is_set(), PATIENCE)
        return fault

    def over(self, fault: Fault) -> None:
        with self._moved:
            fault.under_way -= 1

    def rest(self, seconds: float) -> None:
        """Wait, but not longer than the proxy lives."""
        self._closing.wait(seconds)

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyProxy

    def log_message(self, *_args: object) -> None:
        """Silence: the test says what it saw."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.proxy.take(self.command, self.path)
        try:
            self._answer(body, fault)
        finally:
            self.proxy.over(fault)

    def _answer(self, body: bytes, fault: Fault) -> None:
        if fault.delay:
            self.proxy.rest(fault.delay)
        if fault.status:
            self._send(fault.status, [("Content-Type", "application/xml"), *fault.headers], _document(fault), fault)
            return
        if fault.alter_request is not None:
            body = fault.alter_request(body)
        status, headers, answer = self._forward(body)
        if fault.lose_answer:
            self._hang_up()
            return
        self._send(status, headers, answer if fault.alter is None else fault.alter(answer), fault)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _serve  # noqa: N815 - the names http.server looks for

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        parts = urlsplit(self.proxy.upstream)
        upstream = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP:
                    upstream.putheader(name, value)
            upstream.endheaders(body or None)
            answer = upstream.getresponse()
            headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
            return answer.status, headers, answer.read()
        finally:
            upstream.close()

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes, fault: Fault) -> None:
        self.send_response_only(status)
        lengths = [value for name, value in headers if name.lower() == "content-length"]
        for name, value in headers:
            if name.lower() != "content-length":
                self.send_header(name, value)
        is_head = self.command == "HEAD"
        self.send_header("Content-Length", lengths[0] if lengths and (is_head or fault.alter) else str(len(body)))
        self.end_headers()
        if is_head:
            return
        if fault.slow:
            for position in range(len(body)):
                self.wfile.write(body[position : position + 1])
                self.wfile.flush()
                self.proxy.rest(fault.slow)
        elif fault.cut is not None:
            self.wfile.write(body[: fault.cut])
            self._hang_up()
        else:
            self.wfile.write(body)
            if fault.alter is not None:
                self.close_connection = True  # the body may be shorter than was said

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def handle(self) -> None:
        # The client giving up first is what many tests are about.
        with contextlib.suppress(ConnectionError, TimeoutError):
            super().handle()


def _document(fault: Fault) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{fault.code}</Code><Message>{fault.message}</Message></Error>".encode()


@pytest.fixture
def make_proxy() -> Iterator[Callable[[str], FaultyProxy]]:
    """Starts proxies in front of an ``http://`` address."""
    started: list[FaultyProxy] = []

    def make(upstream: str) -> FaultyProxy:
        started.append(FaultyProxy(upstream))
        return started[-1]

    yield make
    for proxy in started:
        proxy.close()
