"""Where a stream is cut into chunks.

Two cutters: by content (FastCDC, Xia et al., USENIX ATC 2016, seeded from the domain's cut key) so that an insertion
moves one boundary and not all; and fixed, for page files whose blocks never move. The cutter's parameters are not part
of the format: a reader never cuts. They only decide how well two runs deduplicate, so changing them costs one full
upload and no data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from pyfastcdc import FastCDC

from drbackup.vault.suite import MAX_CHUNK

Block = bytes | bytearray | memoryview
Data = bytes | memoryview  # of a chunk; never written to again
FINE = 60_000  # chunks of one stream before they are joined: 60 GiB at the usual size
STEP = 12_000
_JOINED_MOST = MAX_CHUNK - (4 << 20)  # with the largest chunk behind it, still no larger than a reader takes


class CutSizes(msgspec.Struct, frozen=True):
    """Smallest, usual and largest chunk, in bytes."""

    least: int = 256 << 10
    usual: int = 1 << 20
    most: int = 4 << 20


class Cutter:
    """Cuts streams by content. Stateless between streams; safe to share between threads."""

    def __init__(self, cut_key: bytes, sizes: CutSizes | None = None) -> None:
        self.sizes = sizes or CutSizes()
        self._cdc = FastCDC(
            avg_size=self.sizes.usual,
            min_size=self.sizes.least,
            max_size=self.sizes.most,
            seed=int.from_bytes(cut_key[:8], "big") & 0x7FFF_FFFF_FFFF_FFFF,  # the library takes 63 bits
        )

    def cut(self, blocks: Iterable[Block]) -> Iterator[memoryview]:
        """The chunks of the joined blocks, in order; their concatenation is the input. Nothing for empty input. They
        are views: the bytes they lie in are nobody else's and stay as long as one of them does.

        The last chunk of a buffer is carried into the next one, because only more data (or the end) can tell whether
        it is whole: so boundaries do not depend on how the stream was read.
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

    The first ``fine`` chunks stay as they are; behind them the wanted size grows with the distance, a byte for each
    ``step`` bytes. Where fixed blocks are joined depends on their position alone, so page files still deduplicate.
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
    """Chunks of ``size`` bytes (the last may be shorter), whatever the blocks' sizes are."""
    buffer = bytearray()
    for block in blocks:
        buffer += block
        whole = len(buffer) - len(buffer) % size
        for start in range(0, whole, size):
            yield bytes(buffer[start : start + size])
        del buffer[:whole]
    if buffer:
        yield bytes(buffer)
