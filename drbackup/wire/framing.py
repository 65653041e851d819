"""Frames on a byte stream: one message with an optional body of raw bytes.

A frame is ``u32 big-endian header length · u32 big-endian body length · header (msgpack) · body``. The stream opens
with :data:`GREETING` from the agent, so that a login banner or a broken shell profile is told apart from an agent of
another version before anything is parsed. Lengths are bounded before memory is taken: a lying peer can't exhaust it.
"""

from __future__ import annotations

import struct
import threading
from typing import BinaryIO

import msgspec

from drbackup.errors import AgentDied, ProtocolViolation
from drbackup.wire.messages import Message

GREETING = b"DRBACKUP-AGENT/1\n"
MAX_HEADER = 64 << 20
MAX_BODY = 256 << 20
_LENGTHS = struct.Struct(">II")


class FrameStream:
    """Sends and receives frames on a pair of binary streams. ``send`` may be called from any thread."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader = reader
        self._writer = writer
        self._lock = threading.Lock()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)

    def send(self, message: Message, body: bytes | memoryview = b"") -> None:
        """Write one frame and flush it. Raises :class:`AgentDied` when the other end is gone."""
        header = self._encoder.encode(message)
        try:
            with self._lock:
                self._writer.write(_LENGTHS.pack(len(header), len(body)) + header)
                if len(body):
                    self._writer.write(body)
                self._writer.flush()
        except (OSError, ValueError) as gone:
            raise AgentDied(f"the connection ended while sending: {gone}") from gone

    def receive(self) -> tuple[Message, bytes]:
        """The next frame. Raises :class:`AgentDied` at the stream's end, :class:`ProtocolViolation` on nonsense."""
        header_size, body_size = _LENGTHS.unpack(self._exactly(_LENGTHS.size))
        if header_size > MAX_HEADER or body_size > MAX_BODY:
            raise ProtocolViolation(f"a frame claims {header_size} + {body_size} bytes")
        header = self._exactly(header_size)
        body = self._exactly(body_size)
        try:
            return self._decoder.decode(header), body
        except msgspec.DecodeError as bad:
            raise ProtocolViolation(f"a frame can't be read: {bad}") from bad

    def _exactly(self, size: int) -> bytes:
        parts: list[bytes] = []
        missing = size
        while missing:
            try:
                part = self._reader.read(missing)
            except (OSError, ValueError) as gone:
                raise AgentDied(f"the connection ended while receiving: {gone}") from gone
            if not part:
                raise AgentDied("the connection ended before the other side was done")
            parts.append(part)
            missing -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
