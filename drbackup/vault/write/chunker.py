"""The places where a stream is cut into chunks.

There are two ways to cut. By content, an insertion moves one boundary and not all (FastCDC, Xia et al., USENIX ATC
2016, seeded from the domain's cut key). In fixed sizes, for page files whose blocks never move.

How streams are cut is not part of the format, because a reader never cuts. It only decides how well two runs
deduplicate. Changing it costs one full upload and no data.

No chunk is larger than a reader takes (:data:`~drbackup.vault.suite.MAX_CHUNK`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from pyfastcdc import FastCDC

from drbackup.vault.suite import MAX_CHUNK

Block = bytes | bytearray | memoryview
Data = bytes | memoryview  # of a chunk; never written to again
FINE = 60_000  # chunks of one stream before they are joined: 60 GiB at the usual size
STEP = 12_000  # bytes of a stream behind those for each byte that a joined chunk is larger
_JOINED_MOST = MAX_CHUNK - (4 << 20)  # bytes; with the largest chunk behind it, still no larger than a reader takes


class CutSizes(msgspec.Struct, frozen=True):
    """The sizes of chunks that are cut by content."""

    least: int = 256 << 10  # bytes; only the last chunk of a stream may be smaller
    usual: int = 1 << 20  # bytes, on average
    most: int = 4 << 20  # bytes


class Cutter:
    """A cutter of streams by their content. It keeps no state between streams, so threads may share it."""

    def __init__(self, cut_key: bytes, sizes: CutSizes | None = None) -> None:
        self.sizes = sizes or CutSizes()
        self._cdc = FastCDC(
            avg_size=self.sizes.usual,
            min_size=self.sizes.least,
            max_size=self.sizes.most,
            seed=int.from_bytes(cut_key[:8], "big") & 0x7FFF_FFFF_FFFF_FFFF,  # the library takes 63 bits
        )

    def cut(self, blocks: Iterable[Block]) -> Iterator[memoryview]:
        """The chunks of the joined blocks, in order; their concatenation is the input. None for empty input.

        The chunks are views. The memory below them is used for nothing else and stays as long as one of them does.

        The last chunk of a buffer is carried into the next one, because only more data or the end tells whether it is
        whole. So boundaries do not depend on how the stream was read.
        """
        carry = b""
        wanted = self.sizes.most
        gathered: list[Block] = []
        size = 0
        for block in blocks:
            gathered.append(block if isinstance(block, bytes) else bytes(block))
            size += len(block)
            if size < wanted:
                continue
            buffer = b"".join((carry, *gathered))
            gathered, size = [], 0
            view = memoryview(buffer)
            keep = len(buffer)
            for chunk in self._cdc.cut_buf(buffer):
                if chunk.offset + chunk.length == len(buffer):
                    keep = chunk.offset
                    break
                yield view[chunk.offset : chunk.offset + chunk.length]
            carry = buffer[keep:]
        buffer = b"".join((carry, *gathered))
        if buffer:
            view = memoryview(buffer)
            for chunk in self._cdc.cut_buf(buffer):
                yield view[chunk.offset : chunk.offset + chunk.length]


def coarser(chunks: Iterable[Data], *, fine: int = FINE, step: int = STEP) -> Iterator[Data]:
    """The same bytes in fewer pieces once a stream is very long: its places must fit into one page of a tree.

    The first ``fine`` chunks stay as they are. After them the wanted size grows by one byte for each ``step`` bytes.
    Where fixed blocks are joined depends on their position alone, so page files still deduplicate.
    """
    count = behind = size = 0
    gathered: list[Data] = []
    for chunk in chunks:
        count += 1
        if count <= fine:
            yield chunk
            continue
        gathered.append(chunk)
        size += len(chunk)
        if size >= min(behind // step, _JOINED_MOST):
            yield b"".join(gathered)
            behind += size
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


def cut_fixed(blocks: Iterable[Block], size: int) -> Iterator[bytes]:
    """The chunks of ``size`` bytes (the last may be shorter), whatever the blocks' sizes are."""
    buffer = bytearray()
    for block in blocks:
        buffer += block
        whole = len(buffer) - len(buffer) % size
        for start in range(0, whole, size):
            yield bytes(buffer[start : start + size])
        del buffer[:whole]
    if buffer:
        yield bytes(buffer)
