"""Durations and byte sizes as people write them in a policy: ``15m``, ``36h``, ``7d``, ``10MB``.

A bare number is refused, because it has no unit, and a promise read with the wrong unit is a broken promise. Every
parser raises ``ValueError`` with a text for the operator.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema

from drbackup.errors import say

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"(?:\d+[smhdw])+")
_DURATION_PART = re.compile(r"(\d+)([smhdw])")
_LONGEST = timedelta(days=100 * 366)

_BYTE_UNITS = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_BYTES = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]i?B|B)")


def parse_duration(value: object) -> timedelta:
    """The length of time of a text: ``1h30m`` → 90 minutes. Units: s m h d w. A timedelta is returned as it is.

    Raises ``ValueError`` for anything else, and beyond 100 years.
    """
    if isinstance(value, timedelta):
        length = value
    elif isinstance(value, str) and _DURATION.fullmatch(value):
        length = timedelta(seconds=sum(int(n) * _UNITS[unit] for n, unit in _DURATION_PART.findall(value)))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(
            say("{value} has no unit: a length of time is written like {value}m, {value}h or {value}d", value=value)
        )
    else:
        raise ValueError(say("{value} is not a length of time: write it like 15m, 1h30m, 36h or 7d", value=repr(value)))
    if length < timedelta(0) or length > _LONGEST:
        raise ValueError(say("{value} is out of range: a length of time is between 0 and 100 years", value=repr(value)))
    return length


def format_duration(length: timedelta) -> str:
    """The shortest text that :func:`parse_duration` reads as the same length, to the second: ``1h30m``."""
    left = round(length.total_seconds())
    if left < 0:
        return "-" + format_duration(-length)
    parts = []
    for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_bytes(value: object) -> int:
    """The bytes of a text: ``10MB`` → 10,000,000, ``1MiB`` → 1,048,576. A whole number of bytes is returned as it is.

    Raises ``ValueError`` for anything else.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _BYTES.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(say("{value} is not a size: write it like 512KB, 10MB, 1.5GB or 64MiB", value=repr(value)))
    return int(float(match[1]) * _BYTE_UNITS[match[2]])


def parse_bandwidth(value: object) -> int:
    """Bytes per second of a text like ``10MB`` or ``10MB/s``. Raises ``ValueError``, also for units of bits."""
    if isinstance(value, str) and re.search(r"bit|bps|[kKmMgG]b(/s)?$", value):
        raise ValueError(say("{value} counts bits: write bytes per second, like 10MB/s", value=repr(value)))
    return parse_bytes(value.removesuffix("/s") if isinstance(value, str) else value)


def _positive(value: object) -> timedelta:
    length = parse_duration(value)
    if not length:
        raise ValueError(say("{value} is no time at all: it must be longer than zero", value=repr(value)))
    return length


_DURATION_SCHEMA = {
    "type": "string",
    "pattern": r"^(\d+[smhdw])+$",
    "examples": ["15m", "1h", "36h", "7d"],
}

Duration = Annotated[
    timedelta,
    PlainValidator(_positive),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema(_DURATION_SCHEMA),
]
"""A length of time longer than zero."""

DurationOrZero = Annotated[
    timedelta,
    PlainValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema(_DURATION_SCHEMA),
]

ByteCount = Annotated[
    int,
    PlainValidator(parse_bytes),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\d+(\.\d+)? ?([KMGT]i?B|B)$"}]}
    ),
]
"""Bytes."""

Bandwidth = Annotated[
    int,
    PlainValidator(parse_bandwidth),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^\d+(\.\d+)? ?([KMGT]i?B|B)(/s)?$", "examples": ["10MB/s"]},
            ]
        }
    ),
]
"""Bytes per second; 0: no limit."""

Whole = Annotated[int, Field(strict=True)]
"""An integer that is not a boolean or a quoted number."""

YesNo = Annotated[bool, Field(strict=True)]
"""``true`` or ``false``, nothing that merely looks like one."""
