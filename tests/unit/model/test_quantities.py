"""Lengths of time and sizes mean exactly what was written, or are refused with the right way to write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drbackup.model.quantities import format_duration, parse_bandwidth, parse_bytes, parse_duration


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("15m", timedelta(minutes=15)),
        ("1h", timedelta(hours=1)),
        ("36h", timedelta(hours=36)),
        ("7d", timedelta(days=7)),
        ("1h30m", timedelta(minutes=90)),
        ("2w", timedelta(days=14)),
        ("0s", timedelta(0)),
    ],
)
def test_a_length_of_time_is_what_was_written(text: str, length: timedelta) -> None:
    assert parse_duration(text) == length


@pytest.mark.parametrize(
    "wrong", ["", "15", "m", "15 m", "1.5h", "-1h", "PT1H", "15M", None, True, ["1h"], "99999999d"]
)
def test_anything_else_is_refused_as_a_length(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"length of time|unit|range"):
        parse_duration(wrong)


def test_a_bare_number_is_told_that_it_has_no_unit() -> None:
    with pytest.raises(ValueError, match=r"30 has no unit.*30m, 30h or 30d"):
        parse_duration(30)


@given(st.integers(min_value=0, max_value=10**9))
def test_a_printed_length_reads_back_to_itself(seconds: int) -> None:
    length = timedelta(seconds=seconds)
    assert parse_duration(format_duration(length)) == length


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("10MB", 10**7),
        ("1.5GB", 1_500_000_000),
        ("64MiB", 64 * 2**20),
        ("512 KB", 512_000),
        ("7B", 7),
        (42, 42),
        (0, 0),
    ],
)
def test_a_size_is_what_was_written(text: object, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("wrong", ["", "10", "10mb", "10 M", "-1MB", -1, True, 1.5, None, "MB"])
def test_anything_else_is_refused_as_a_size(wrong: object) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_bytes(wrong)


def test_bandwidth_counts_bytes_and_refuses_bits() -> None:
    assert parse_bandwidth("10MB/s") == parse_bandwidth("10MB") == 10**7
    for bits in ("10Mbit", "10Mbps", "10Mb/s", "10mb"):
        with pytest.raises(ValueError, match="bytes per second"):
            parse_bandwidth(bits)
