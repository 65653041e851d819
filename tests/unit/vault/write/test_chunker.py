"""Where streams are cut."""

from __future__ import annotations

import pytest

from drbackup.vault.suite import MAX_CHUNK
from drbackup.vault.write.chunker import CutSizes, Cutter, coarser


@pytest.mark.parametrize("first_byte", [0x00, 0x7F, 0x80, 0xFF])
def test_every_cut_key_cuts(first_byte: int) -> None:
    data = bytes(range(256)) * 40_000
    cutter = Cutter(bytes([first_byte]) * 32)
    assert b"".join(cutter.cut([data])) == data


def test_joined_chunks_are_never_larger_than_a_reader_takes() -> None:
    groups = list(coarser([bytes(CutSizes().most)] * 40, fine=0, step=1))
    assert MAX_CHUNK - CutSizes().most <= max(map(len, groups)) <= MAX_CHUNK


class Measured(bytes):
    """A chunk whose size is only claimed: nobody has a terabyte for a test."""

    def __len__(self) -> int:
        return 1 << 20


def test_the_places_of_a_terabyte_fit_into_one_page() -> None:
    count = sum(1 for _ in coarser(Measured() for _ in range(1 << 20)))
    assert count * 100 < MAX_CHUNK
