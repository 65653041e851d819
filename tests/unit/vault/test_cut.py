"""Where streams are cut."""

from __future__ import annotations

import pytest

from drbackup.vault.cut import Cutter


@pytest.mark.parametrize("first_byte", [0x00, 0x7F, 0x80, 0xFF])
def test_every_cut_key_cuts(first_byte: int) -> None:
    data = bytes(range(256)) * 40_000
    cutter = Cutter(bytes([first_byte]) * 32)
    assert b"".join(cutter.cut([data])) == data
