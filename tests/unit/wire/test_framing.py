"""Frames: what goes in comes out, and nothing a peer sends can hurt."""

from __future__ import annotations

import io
import struct
import threading

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drbackup.errors import AgentDied, DrbackupError, ProtocolViolation
from drbackup.wire import messages, specs
from drbackup.wire.framing import MAX_BODY, MAX_HEADER, FrameStream
from drbackup.wire.messages import Cancel, Locate, Message, Stored, Upload

NUMBER = st.integers(0, 2**63 - 1)
TEXT = st.text(max_size=20)
BYTES = st.binary(max_size=40)
_LEAVES: dict[object, st.SearchStrategy[object]] = {
    int: NUMBER,
    str: TEXT,
    bytes: BYTES,
    bool: st.booleans(),
    float: st.floats(allow_nan=False),
}


def of(kind: object) -> st.SearchStrategy[object]:
    """Any value of a wire type."""
    if kind in _LEAVES:
        return _LEAVES[kind]
    info = msgspec.inspect.type_info(kind)
    match info:
        case msgspec.inspect.StructType():
            return st.builds(info.cls, **{field.name: of_type(field.type) for field in info.fields})
        case _:
            return of_type(info)


def of_type(info: msgspec.inspect.Type) -> st.SearchStrategy[object]:
    match info:
        case msgspec.inspect.IntType():
            return NUMBER
        case msgspec.inspect.StrType():
            return TEXT
        case msgspec.inspect.BytesType():
            return st.binary(min_size=info.min_length or 0, max_size=info.max_length or 40)
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.FloatType():
            return st.floats(allow_nan=False)
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.VarTupleType():
            return st.lists(of_type(info.item_type), max_size=3).map(tuple)
        case msgspec.inspect.DictType():
            return st.dictionaries(of_type(info.key_type), of_type(info.value_type), max_size=3)
        case msgspec.inspect.UnionType():
            return st.one_of([of_type(choice) for choice in info.types])
        case msgspec.inspect.StructType():
            return of(info.cls)
        case msgspec.inspect.RawType():
            return st.dictionaries(TEXT, TEXT, max_size=3).map(msgspec.msgpack.encode).map(msgspec.Raw)
        case _:
            raise TypeError(info)


def frames(*sent: tuple[Message, bytes]) -> bytes:
    out = io.BytesIO()
    stream = FrameStream(io.BytesIO(), out)
    for message, body in sent:
        stream.send(message, body)
    return out.getvalue()


def receiving(data: bytes) -> FrameStream:
    return FrameStream(io.BytesIO(data), io.BytesIO())


KINDS = sorted(messages.Message.__args__, key=lambda kind: str(kind.__name__))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.__name__))
def test_every_message_comes_out_as_it_went_in(kind: type[Message]) -> None:
    @given(of(kind), st.binary(max_size=200))
    @settings(max_examples=40, deadline=None)
    def round_trip(message: Message, body: bytes) -> None:
        assert receiving(frames((message, body))).receive() == (message, body)

    round_trip()


class Trickle(io.BytesIO):
    """A line that gives one byte at a time."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 1, 1))


def test_a_frame_in_single_bytes_is_put_together() -> None:
    data = frames((Stored(7), b"body"), (Stored(8), b""))
    stream = FrameStream(Trickle(data), io.BytesIO())
    assert [stream.receive(), stream.receive()] == [(Stored(7), b"body"), (Stored(8), b"")]


class Lent:
    """Memory that the test looks at."""

    def __init__(self) -> None:
        self.taken: list[memoryview] = []

    def take(self, size: int, /) -> memoryview:
        self.taken.append(memoryview(bytearray(b"\xff" * size)))
        return self.taken[-1]


def test_a_large_body_comes_into_the_memory_it_is_given_and_a_small_one_does_not() -> None:
    large = bytes(range(256)) * 8192 + b"end"
    data = frames((Stored(7), large), (Stored(8), b"small"))
    lent = Lent()
    stream = FrameStream(io.BytesIO(data), io.BytesIO(), lent)
    message, body = stream.receive()
    assert (message, bytes(body)) == (Stored(7), large)
    assert stream.receive() == (Stored(8), b"small")
    assert [len(each) for each in lent.taken] == [len(large)]
    with pytest.raises(AgentDied):
        FrameStream(io.BytesIO(data[: 1 << 20]), io.BytesIO(), lent).receive()


@given(st.integers(1, 60))
def test_a_truncated_stream_is_a_dead_agent(cut: int) -> None:
    data = frames((Upload(1, "p", bytes(32), 9), b"12345678"))
    with pytest.raises(AgentDied):
        receiving(data[: len(data) - min(cut, len(data))]).receive()


class Counting(io.BytesIO):
    asked = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.asked = max(self.asked, size or 0)
        return super().read(size)


@pytest.mark.parametrize("lengths", [(MAX_HEADER + 1, 0), (0, MAX_BODY + 1), (2**32 - 1, 2**32 - 1)])
def test_an_oversized_frame_is_refused_before_memory_is_taken(lengths: tuple[int, int]) -> None:
    reader = Counting(struct.pack(">II", *lengths) + b"x" * 100)
    with pytest.raises(ProtocolViolation, match="claims"):
        FrameStream(reader, io.BytesIO()).receive()
    assert reader.asked == 8


def test_a_large_but_lawful_claim_takes_memory_only_as_bytes_come() -> None:
    reader = Counting(struct.pack(">II", 10, MAX_BODY) + b"x" * 100)
    with pytest.raises(AgentDied):
        FrameStream(reader, io.BytesIO()).receive()
    assert reader.asked <= 1 << 20


def test_a_frame_too_large_for_the_other_side_is_never_sent() -> None:
    out = io.BytesIO()
    with pytest.raises(ProtocolViolation, match="too large"):
        FrameStream(io.BytesIO(), out).send(Stored(1), bytes(MAX_BODY + 1))
    assert out.getvalue() == b""


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_garbage_ends_in_one_of_our_errors(data: bytes) -> None:
    stream = receiving(data)
    with pytest.raises(DrbackupError):
        all(stream.receive() for _ in iter(int, 1))


@pytest.mark.parametrize("header", [b"\xc1", b"\x81\xa4type\xa7no-such", b"\x93\x01\x02\x03", b""])
def test_a_header_that_is_no_message_is_a_violation(header: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        receiving(struct.pack(">II", len(header), 0) + header).receive()


def test_unknown_fields_are_ignored_and_unknown_messages_refused() -> None:
    newer = msgspec.msgpack.encode({"type": "stored", "ask": 3, "colour": "blue"})
    assert receiving(struct.pack(">II", len(newer), 0) + newer).receive() == (Stored(3), b"")


def test_frames_of_many_threads_never_mix() -> None:
    out = io.BytesIO()
    stream = FrameStream(io.BytesIO(), out)

    def send(number: int) -> None:
        for _ in range(50):
            stream.send(Locate(number, bytes([number]) * 32), bytes([number]) * 1000)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    back = receiving(out.getvalue())
    for _ in range(400):
        message, body = back.receive()
        assert isinstance(message, Locate)
        assert message.ids == bytes([message.ask]) * 32
        assert body == bytes([message.ask]) * 1000


def test_sending_to_a_closed_stream_is_a_dead_agent() -> None:
    writer = io.BytesIO()
    writer.close()
    with pytest.raises(AgentDied):
        FrameStream(io.BytesIO(), writer).send(Cancel("stop"))


def test_a_secret_never_shows_in_a_repr() -> None:
    job = messages.DrillJob("d", (), (), key=specs.Secret(b"the seed itself"))
    assert "seed" not in repr(job)
    assert "***" in repr(job)
