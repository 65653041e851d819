"""Sealed bytes opened to plain bytes, into memory that is used again.

New memory for each chunk would cost more than decrypting it, because the kernel hands out zeroed pages one by one. So a
thread that opens chunks keeps one :class:`OpenBuffer`, and everything is decrypted and decompressed into it. Nothing
that is not authenticated is given out.
"""

from __future__ import annotations

import mmap

import zstandard

from drbackup.errors import ObjectCorrupt, say
from drbackup.system.memory import huge_buffer
from drbackup.vault.pack import PackOpener
from drbackup.vault.suite import TAG_SIZE
from drbackup.wire.messages import Place

_ROUND = 2 << 20  # memory grows in steps of this many bytes


class OpenBuffer:
    """One thread's memory for opened chunks. What :meth:`clear` gives out is valid until its next call."""

    def __init__(self) -> None:
        self._memory = self._scratch = memoryview(bytearray())
        self._inflate = zstandard.ZstdDecompressor()

    def clear(self, size: int) -> memoryview:
        """Memory for ``size`` bytes of opened chunks, with any content."""
        if len(self._memory) < size:
            self._memory = _room(size)
        return self._memory[:size]

    def open(self, opener: PackOpener, place: Place, sealed: memoryview, into: memoryview, what: str) -> None:
        """The chunk's plain bytes, authenticated, are in ``into`` afterwards. ``into`` is as long as they are.

        Raises :class:`ObjectCorrupt`, naming the pack as ``what``; ``into`` then holds nothing to be used.
        """
        stored = len(sealed) - TAG_SIZE
        if len(sealed) != place.size or stored < 0:
            raise ObjectCorrupt(
                say("{what}: chunk {ordinal} is cut short", what=what, ordinal=place.ordinal), where=what
            )
        if stored == place.raw:
            opener.open_into(place.ordinal, sealed, place.id, into)
            return
        if len(self._scratch) < stored:
            self._scratch = _room(stored)
        frame = self._scratch[:stored]
        opener.open_into(place.ordinal, sealed, place.id, frame)
        try:
            self._decompress(frame, place, into)
        except zstandard.ZstdError as bad:
            raise ObjectCorrupt(
                say("{what}: chunk {ordinal} does not decompress: {why}", what=what, ordinal=place.ordinal, why=bad),
                where=what,
            ) from bad

    def _decompress(self, frame: memoryview, place: Place, into: memoryview) -> None:
        # The library believes the frame's own size before ours: a frame of 32 KiB could ask for all memory.
        claimed = zstandard.get_frame_parameters(frame).content_size
        if claimed not in (place.raw, zstandard.CONTENTSIZE_UNKNOWN):
            raise zstandard.ZstdError(f"the frame claims {claimed} bytes instead of {place.raw}")
        with self._inflate.stream_reader(frame, read_across_frames=False) as frames:
            got = frames.readinto(into)
            if got != place.raw or frames.read(1):
                raise zstandard.ZstdError(f"it has not the {place.raw} bytes it should have")


def _room(size: int) -> memoryview:
    buffer: mmap.mmap = huge_buffer(-(-max(size, 1) // _ROUND) * _ROUND)
    return memoryview(buffer)
