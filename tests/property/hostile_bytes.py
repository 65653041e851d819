"""Bytes that an enemy would write: sound ones with something changed, and small ones that claim to be large."""

from __future__ import annotations

import random
from typing import Any

import msgspec
from hypothesis import strategies as st

BOMBS = (
    b"\xdd\xff\xff\xff\xff", b"\xdd\x00\xff\xff\xff", b"\xdc\xff\xff",  # arrays of so many
    b"\xdf\xff\xff\xff\xff", b"\xde\xff\xff",  # maps
    b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x01", b"\xc5\xff\xff",  # bytes, text
    b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7), b"\xcf\x80" + bytes(7), b"\xff", b"\xca\x7f\xc0\x00\x00",  # numbers
    b"\xcb\x7f\xf0" + bytes(6), b"\x91" * 20_000 + b"\xc0", b"\x81\xa0" * 20_000 + b"\xc0",  # endless nesting
    b"\xa2\xff\xfe", b"\xd9\x02\xc3\x28", b"\xa3\xed\xa0\x80", b"\xc1", b"\xc0", b"\xd7\xff" + b"\xff" * 8, b"",
)  # fmt: skip

NUMBERS = (0, -1, 1, 2**31, 2**32 - 2, 2**32 - 1, 2**32, 2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, -(2**63))
VALUES: tuple[Any, ...] = (
    *NUMBERS, None, True, 1.5, float("inf"), float("nan"), b"",
    b"\0", b"x" * 31, b"x" * 32, b"x" * 33, b"x" * 5000,
    "", "\0", "../..", "x" * 300, "\u202e", "p", "t", "i", [], {}, [[]], [b""] * 70_000, {"": ""}, [[b"", b""]],
    [0] * 6, [b"x" * 32, b"x" * 32, 0, 0, 0, 0],
)  # fmt: skip


@st.composite
def altered(draw: st.DrawFn, valid: bytes) -> bytes:
    """``valid`` with a few places changed, or something else altogether."""
    how = draw(st.sampled_from(["random", "flip", "cut", "splice", "value", "value", "value", "double"]))
    chosen = random.Random(draw(st.integers(0, 2**32)))
    at = chosen.randrange(len(valid) + 1)
    match how:
        case "random":
            return draw(st.binary(max_size=300))
        case "flip":
            data = bytearray(valid)
            for _ in range(chosen.randint(1, 6)):
                data[chosen.randrange(len(data))] ^= 1 << chosen.randrange(8)
            return bytes(data)
        case "cut":
            return valid[:at]
        case "splice":
            return valid[:at] + chosen.choice(BOMBS) + valid[at + chosen.choice([0, 1, 5]) :]
        case "double":
            return valid[:at] + valid
        case _:
            return with_another_value(valid, chosen)


def with_another_value(valid: bytes, chosen: random.Random) -> bytes:
    """A well-formed document in which one value, somewhere, is another one."""
    try:
        document = msgspec.msgpack.decode(valid)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return valid
    return msgspec.msgpack.encode(_changed(document, chosen))


def _changed(value: Any, chosen: random.Random) -> Any:
    if isinstance(value, list) and value and chosen.random() < 0.85:
        at = chosen.randrange(len(value))
        if chosen.random() < 0.1:
            return value[:at]
        return [*value[:at], _changed(value[at], chosen), *value[at + 1 :]]
    if isinstance(value, dict) and value and chosen.random() < 0.85:
        name = chosen.choice(sorted(value, key=repr))
        if chosen.random() < 0.1:
            return {key: each for key, each in value.items() if key != name}
        return {**value, name: _changed(value[name], chosen)}
    return chosen.choice(VALUES)
