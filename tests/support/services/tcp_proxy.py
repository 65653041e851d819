"""A TCP proxy to a loopback port that can cut all its connections at once."""

from __future__ import annotations

import contextlib
import socket
import threading


class CuttingProxy:
    """``with CuttingProxy(port) as proxy: …; proxy.cut()``."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._pairs: list[socket.socket] = []
        self._counting = threading.Lock()
        self.sent = 0  # bytes towards the server
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> CuttingProxy:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Drop every connection, both ways, now."""
        for peer in self._pairs:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
            peer.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except OSError:  # nobody is there now: a refusal here, too, and the next one may be luckier
                    near.close()
                    continue
                self._pairs += [near, far]
                threading.Thread(target=self._pump, args=(near, far, 1), daemon=True).start()
                threading.Thread(target=self._pump, args=(far, near, 0), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, counts: int) -> None:
        """Bytes one way. The end of one side is passed on, its breaking off breaks off the other."""
        how = socket.SHUT_RDWR
        with contextlib.suppress(OSError):
            while data := source.recv(262_144):
                sink.sendall(data)
                with self._counting:
                    self.sent += counts * len(data)
            how = socket.SHUT_WR
        with contextlib.suppress(OSError):
            sink.shutdown(how)
