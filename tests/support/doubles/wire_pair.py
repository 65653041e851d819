"""Two frame streams joined by socket pairs, for tests that play one end of a session themselves."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import BinaryIO

from drbackup.wire.framing import FrameStream


@dataclass
class WirePair:
    """``agent`` and ``controller`` talk to each other; :meth:`cut` ends the connection both ways."""

    agent: FrameStream
    controller: FrameStream
    agent_files: tuple[BinaryIO, BinaryIO]
    sockets: tuple[socket.socket, socket.socket]

    def cut(self) -> None:
        for end in self.sockets:
            end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for end in self.sockets:
            end.close()


def wire_pair() -> WirePair:
    near, far = socket.socketpair()
    files = near.makefile("rb"), near.makefile("wb")
    controller = FrameStream(far.makefile("rb"), far.makefile("wb"))
    return WirePair(FrameStream(*files), controller, files, (near, far))
