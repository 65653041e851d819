"""A recorder between the backup centre and an agent: every byte that either of them says, and the messages in it."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TypeVar

from drbackup.errors import DrbackupError
from drbackup.fleet.channel import Channel
from drbackup.fleet.connect import open_channel
from drbackup.model.inventory import AgentEntry, Inventory
from drbackup.wire.framing import GREETING, ByteReader, ByteWriter, FrameStream
from drbackup.wire.messages import Message

M = TypeVar("M")


@dataclass
class _Reader:
    real: ByteReader
    kept: bytearray

    def read(self, size: int, /) -> bytes:
        data = self.real.read(size)
        self.kept += data
        return data


@dataclass
class _Writer:
    real: ByteWriter
    kept: bytearray

    def write(self, data: bytes | memoryview, /) -> object:
        self.kept += data
        return self.real.write(data)

    def flush(self) -> object:
        return self.real.flush()


@dataclass
class _Channel:
    """A channel whose both directions are kept."""

    real: Channel
    reader: _Reader
    writer: _Writer

    @property
    def host(self) -> str:
        return self.real.host

    def close(self, grace: float = 5.0) -> None:
        self.real.close(grace)

    def stderr_tail(self) -> str:
        return self.real.stderr_tail()

    def exit_status(self, wait: float = 0.0) -> int | None:
        return self.real.exit_status(wait)


@dataclass
class WireRecord:
    """``connect`` goes where a run's connector goes. All sessions are kept in one record."""

    to_agent: bytearray = field(default_factory=bytearray)
    from_agent: bytearray = field(default_factory=bytearray)

    def connect(self, name: str, entry: AgentEntry, inventory: Inventory) -> Channel:
        real = open_channel(name, entry, inventory)
        return _Channel(real, _Reader(real.reader, self.from_agent), _Writer(real.writer, self.to_agent))

    def told(self, kind: type[M]) -> list[M]:
        """Every message of one kind that the agent was told, in order."""
        return [message for message in _messages(bytes(self.to_agent)) if isinstance(message, kind)]

    def said(self, kind: type[M]) -> list[M]:
        """Every message of one kind that the agent said."""
        return [m for part in bytes(self.from_agent).split(GREETING) for m in _messages(part) if isinstance(m, kind)]


def _messages(data: bytes) -> list[Message]:
    stream, found = FrameStream(io.BytesIO(data), io.BytesIO()), []
    while True:
        try:
            found.append(stream.receive()[0])
        except DrbackupError:  # the end
            return found
