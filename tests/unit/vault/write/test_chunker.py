"""Where streams are cut."""

from __future__ import annotations

import hashlib
import itertools

import pytest

from drbackup.vault.suite import MAX_CHUNK
from drbackup.vault.write.chunker import CutSizes, Cutter, coarser


@pytest.mark.parametrize("first_byte", [0x00, 0x7F, 0x80, 0xFF])
def test_every_cut_key_cuts(first_byte: int) -> None:
    data = bytes(range(256)) * 40_000
    cutter = Cutter(bytes([first_byte]) * 32)
    assert b"".join(cutter.cut([data])) == data


# Ends of the chunks of GOLDEN_INPUT. A cutter that cuts elsewhere finds nothing of what is stored: every source of the
# city would be uploaded once more. Whoever must change these numbers tells the operators so, in the changelog.
GOLDEN_CUTS = {
    bytes(range(32)): [
        1215204, 2073758, 2416848, 3655661, 4261252, 4749050, 6967447, 9789718, 12144230, 14111507, 15140992, 15771385,
        19965689, 23068672,
    ],
    b"\xff" * 32: [
        1622184, 2244966, 3842082, 5494559, 7047228, 8543818, 9723740, 10287363, 11931375, 13281648, 13870470, 14486908,
        15864086, 20058390, 23068672,
    ],
}  # fmt: skip
GOLDEN_INPUT = (
    hashlib.shake_256(b"drbackup: golden cut points").digest(16 << 20)
    + bytes(5 << 20)
    + b"0123456789abcdef" * (1 << 16)
)


@pytest.mark.parametrize("cut_key", GOLDEN_CUTS, ids=lambda key: key[:2].hex())
@pytest.mark.parametrize("block", [len(GOLDEN_INPUT), 1 << 20, 300_007])
def test_streams_are_cut_where_every_earlier_release_cut_them(cut_key: bytes, block: int) -> None:
    blocks = (GOLDEN_INPUT[at : at + block] for at in range(0, len(GOLDEN_INPUT), block))
    ends = list(itertools.accumulate(map(len, Cutter(cut_key).cut(blocks))))
    assert ends == GOLDEN_CUTS[cut_key]


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
