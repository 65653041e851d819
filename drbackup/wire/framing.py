"""Frames on a byte stream: one message with an optional body of raw bytes.

A frame is ``u32 big-endian header length · u32 big-endian body length · header (msgpack) · body``. The agent begins the
stream with :data:`GREETING`. So a login banner or a broken shell profile is told apart from an agent of another
version, before anything is parsed. Lengths are checked before memory is taken, so the other side can't exhaust it.
"""

from __future__ import annotations

import struct
import threading
from typing import Protocol

import msgspec

from drbackup.errors import AgentDied, ProtocolViolation, say
from drbackup.wire.decode_errors import UNREADABLE
from drbackup.wire.messages import Message

GREETING = b"DRBACKUP-AGENT/1\n"
MAX_HEADER = 64 << 20  # bytes; the largest message is a BackupResult: 33 bytes a pack, so two million packs
MAX_BODY = 96 << 20  # bytes; one pack is about 32 MiB
_PIECE = 1 << 20  # bytes asked for in one read: memory is taken as bytes arrive, not as a header claims
Body = bytes | memoryview
_LENGTHS = struct.Struct(">II")


class ByteReader(Protocol):
    """Where frames come from. A read of ``b""`` is the end of the stream."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes. Raises :class:`OSError` or :class:`ValueError` when the stream is closed."""
        ...


class ByteWriter(Protocol):
    """Where frames go."""

    def write(self, data: bytes | memoryview, /) -> object:
        """All of ``data`` is taken, or :class:`OSError` or :class:`ValueError` is raised. The result is not used."""
        ...

    def flush(self) -> object:
        """All that was written is sent. Raises as :meth:`write`."""
        ...


class BodyMemory(Protocol):
    """Memory for large bodies."""

    def take(self, size: int, /) -> memoryview:
        """``size`` writable bytes, which are then filled from the beginning."""
        ...


class FrameStream:
    """Frames on a pair of binary streams. ``send`` may be called from any thread, ``receive`` from one at a time."""

    def __init__(self, reader: ByteReader, writer: ByteWriter, bodies: BodyMemory | None = None) -> None:
        """``bodies``: memory for received bodies of 1 MiB and more; without it they are new ``bytes``."""
        self._reader = reader
        self._writer = writer
        self._bodies = bodies
        self._mutex = threading.Lock()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)

    def send(self, message: Message, body: Body = b"") -> None:
        """A whole frame, written and flushed.

        Raises :class:`AgentDied` when the other end is gone. Raises :class:`ProtocolViolation`, before a byte is sent,
        when the frame is larger than the other end accepts.
        """
        header = self._encoder.encode(message)
        if len(header) > MAX_HEADER or len(body) > MAX_BODY:
            raise ProtocolViolation(
                say("a frame of {n} + {n2} bytes is too large to send", n=len(header), n2=len(body))
            )
        try:
            with self._mutex:
                self._writer.write(_LENGTHS.pack(len(header), len(body)) + header)
                if len(body):
                    self._writer.write(body)
                self._writer.flush()
        except (OSError, ValueError) as gone:
            raise AgentDied(say("the connection ended while sending: {why}", why=gone)) from gone

    def receive(self) -> tuple[Message, Body]:
        """The next frame: its message and its body, empty when it has none.

        Raises :class:`AgentDied` at the stream's end, :class:`ProtocolViolation` for a frame that is too large or can't
        be read.
        """
        header_size, body_size = _LENGTHS.unpack(self._exactly(_LENGTHS.size))
        if header_size > MAX_HEADER or body_size > MAX_BODY:
            raise ProtocolViolation(
                say("a frame claims {header_size} + {body_size} bytes", header_size=header_size, body_size=body_size)
            )
        header = self._exactly(header_size)
        body = self._body(body_size)
        try:
            return self._decoder.decode(header), body
        except UNREADABLE as bad:
            raise ProtocolViolation(say("a frame can't be read: {why}", why=bad)) from bad

    def _body(self, size: int) -> Body:
        if self._bodies is None or size < _PIECE:
            return self._exactly(size)
        memory, done = self._bodies.take(size), 0
        while done < size:
            part = self._part(size - done)
            memory[done : done + len(part)] = part
            done += len(part)
        return memory

    def _exactly(self, size: int) -> bytes:
        parts: list[bytes] = []
        missing = size
        while missing:
            part = self._part(missing)
            parts.append(part)
            missing -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _part(self, missing: int) -> bytes:
        try:
            part = self._reader.read(min(missing, _PIECE))
        except (OSError, ValueError) as gone:
            raise AgentDied(say("the connection ended while receiving: {why}", why=gone)) from gone
        if not part:
            raise AgentDied("the connection ended before the other side was done")
        return part
