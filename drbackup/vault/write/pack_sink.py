"""From plain chunks to stored packs: name, ask, compress, seal, upload, on a few threads with bounded memory.

One :class:`ChunkSink` serves one kind of pack in one session. Chunks are handed over in batches; a worker names them,
asks the destination once per batch which are missing, compresses those and seals them into the one open pack. A full
pack is closed and uploaded by another thread. A :class:`Chunk` learns its place when its pack is stored.

A crash anywhere here leaves packs in the store that no record names: the next run finds their chunks through the
controller and does not send them again.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import msgspec
import zstandard

from drbackup.errors import FormatUnsupported, HostUnsuitable, say
from drbackup.system.memory import huge_buffer
from drbackup.vault.pack import BUFFER_SIZE, PackBuilder, SessionKey, unpack
from drbackup.vault.suite import MAX_CHUNK, chunk_id
from drbackup.vault.write.chunker import Data
from drbackup.wire.messages import Place

BATCH_BYTES = 4 << 20
BATCH_CHUNKS = 256
UPLOADS = 2  # packs being uploaded at once; with the open one they bound the memory
# Level 3's search with the short table a quarter as large, which then stays in a core's first cache, and no matches of
# four bytes: a tenth to a sixth faster, and 0.8 % (text) to 1.6 % (database pages) larger. Text needs no second table:
# a sixth faster again for 0.7 % (SQL) to 2 % (code and logs), where pages would lose 3 %. Not part of the format.
_PAGES = zstandard.ZstdCompressionParameters(
    strategy=zstandard.STRATEGY_DFAST, window_log=20, hash_log=17, chain_log=14, search_log=1, min_match=5
)
_TEXT = zstandard.ZstdCompressionParameters(
    strategy=zstandard.STRATEGY_FAST, window_log=20, hash_log=16, chain_log=6, search_log=1, min_match=6
)
_LOOKED_AT = 4096  # bytes of a chunk that tell whether it is text
_PACKS_TRIED = 8


class PackDestination(Protocol):
    """Where a writer asks and stores. Thread-safe. Raises :mod:`drbackup.errors` only."""

    def locate(self, ids: Sequence[bytes]) -> dict[bytes, Place]:
        """The places of those of ``ids`` (32 bytes each) that the domain has; the others are missing."""
        ...

    def put(self, kind: str, pack: bytes, data: bytes | memoryview, places: Sequence[Place]) -> None:
        """Store a pack; returns when it is durable and its chunks are remembered. ``data`` is the writer's own memory
        and holds something else afterwards."""
        ...


class Chunk:
    """A chunk on its way. ``place`` is None until its pack is stored (or it was found in the vault)."""

    __slots__ = ("data", "id", "place", "raw", "twin")

    def __init__(self, data: Data) -> None:
        self.data: Data | None = data
        self.raw = len(data)
        self.id = b""
        self.place: Place | None = None
        self.twin: Chunk | None = None  # the same content, earlier in this session

    def settled(self) -> Place | None:
        """Its place, or its twin's."""
        return self.place if self.twin is None else self.twin.settled()


class ChunkSink:
    """Takes chunks, stores the missing ones. ``add`` may be called from several threads."""

    def __init__(self, destination: PackDestination, key: SessionKey, id_key: bytes, workers: int) -> None:
        self.new_bytes = 0
        self.stored_bytes = 0
        self.packs: set[bytes] = set()
        self.tables: list[tuple[bytes, msgspec.Raw]] = []  # pack → its places, encoded: there are many
        self._destination = destination
        self._key = key
        self._id_key = id_key
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=f"seal-{key.kind}")
        self._uploads = ThreadPoolExecutor(UPLOADS, thread_name_prefix=f"send-{key.kind}")
        self._batches = threading.BoundedSemaphore(workers + 1)
        self._room = threading.BoundedSemaphore(UPLOADS + 1)  # packs in memory: the open one and those on their way
        self._local = threading.local()
        self._mutex = threading.Lock()  # guards everything below, and the counters
        self._batch: list[Chunk] = []
        self._batch_bytes = 0
        self._pending: dict[bytes, Chunk] = {}  # named in this session, not yet stored
        self._builder: PackBuilder | None = None
        self._open: list[Chunk] = []  # chunks of the open pack
        self._sending: list[Future[None]] = []
        self._buffers: list[memoryview] = []  # of stored packs, for the next ones
        self._error: BaseException | None = None

    def add(self, data: Data) -> Chunk:
        """Hand one chunk over. Raises what a worker raised before, and :class:`FormatUnsupported` for one that no
        reader would take back: a file of terabytes, whose places don't fit into one page."""
        if len(data) > MAX_CHUNK:
            raise FormatUnsupported(
                say(
                    "a chunk of {n} bytes can't be read back, at most {max_chunk} may be written",
                    n=len(data),
                    max_chunk=MAX_CHUNK,
                ),
                hint="the source holds a file with too many pieces for one page of a tree: split it",
            )
        chunk = Chunk(data)
        with self._mutex:
            self._raise_error()
            self._batch.append(chunk)
            self._batch_bytes += chunk.raw
            if self._batch_bytes < BATCH_BYTES and len(self._batch) < BATCH_CHUNKS:
                return chunk
            batch = self._take_batch()
        self._submit(batch)
        return chunk

    def push(self) -> None:
        """Let the workers have what is gathered so far, without waiting for a full batch."""
        with self._mutex:
            batch = self._take_batch()
        if batch:
            self._submit(batch)

    def hurry(self) -> None:
        """Close the open pack before it is full, so that what waits for its place need not wait for more data."""
        self.push()
        with self._mutex:
            closing = self._take_pack()
        if closing:
            self._close_pack(*closing)

    def close_with(self, chunks: Sequence[Chunk], last: Callable[[Sequence[Place]], bytes], here: bytes) -> Chunk:
        """Store one chunk more that tells where earlier ``chunks`` of this sink lie, in the same pack as those that are
        not stored yet: their places come with ``here`` as the pack's name, which is not known before its last byte.
        Call it once, before :meth:`finish`."""
        self.push()
        self._pool.shutdown(wait=True)
        for sending in self._sending:
            sending.result()
        with self._mutex:
            self._raise_error()
            for chunk, where in zip(self._open, self._builder.places(here) if self._builder else (), strict=True):
                chunk.place = where
        places = [place for chunk in chunks if (place := chunk.settled()) is not None]
        known = None if self._builder else self._known_before(places, last, here)
        closing = known or Chunk(last(places))
        if known is None:
            self._work([closing])
        return closing

    def _known_before(
        self, places: Sequence[Place], last: Callable[[Sequence[Place]], bytes], here: bytes
    ) -> Chunk | None:
        """The chunk that told of exactly these ``places`` when some of them were new, in whichever pack that was: so a
        run that changes nothing stores nothing."""
        likely = [pack for pack, _ in Counter(place.pack for place in places).most_common(_PACKS_TRIED)]
        found = msgspec.structs.replace
        tried = {
            pack: Chunk(last([found(place, pack=here) if place.pack == pack else place for place in places]))
            for pack in likely
        }
        for chunk in tried.values():
            assert chunk.data is not None
            chunk.id = chunk_id(self._id_key, chunk.data)
        stored = self._destination.locate([chunk.id for chunk in tried.values()]) if tried else {}
        for pack, chunk in tried.items():
            there = stored.get(chunk.id)
            if there is not None and (there.pack, there.raw) == (pack, chunk.raw):
                chunk.place, chunk.data = there, None
                self.packs.add(pack)
                return chunk
        return None

    def finish(self) -> None:
        """Store everything handed over. Afterwards every chunk has its place. Raises what went wrong."""
        self.push()
        self._pool.shutdown(wait=True)
        with self._mutex:
            self._raise_error()
            closing = self._take_pack()
        if closing:
            self._close_pack(*closing)
        self._uploads.shutdown(wait=True)
        with self._mutex:
            self._buffers.clear()
            self._raise_error()

    def abort(self) -> None:
        """Stop the workers; nothing more is stored."""
        with self._mutex:
            self._error = self._error or RuntimeError("the writer was abandoned")
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._uploads.shutdown(wait=True, cancel_futures=True)

    # --- workers -------------------------------------------------------------------------------------------------

    def _take_batch(self) -> list[Chunk]:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        return batch

    def _submit(self, batch: list[Chunk]) -> None:
        self._batches.acquire()
        self._watch(self._pool.submit(self._work, batch), self._batches.release)

    def _watch(self, future: Future[None], after: Callable[[], None]) -> None:
        def done(ended: Future[None]) -> None:
            after()
            if not ended.cancelled() and (error := ended.exception()) is not None:
                with self._mutex:
                    self._error = self._error or error

        future.add_done_callback(done)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self, batch: list[Chunk]) -> None:
        for chunk in batch:
            assert chunk.data is not None
            chunk.id = chunk_id(self._id_key, chunk.data)
        for chunk in self._missing(batch):
            assert chunk.data is not None
            self._seal(chunk, self._compress(chunk.data))
            chunk.data = None

    def _missing(self, batch: list[Chunk]) -> list[Chunk]:
        fresh: list[Chunk] = []
        with self._mutex:
            self._raise_error()
            for chunk in batch:
                if (twin := self._pending.get(chunk.id)) is not None:
                    chunk.twin, chunk.data = twin, None
                else:
                    self._pending[chunk.id] = chunk
                    fresh.append(chunk)
        found = self._destination.locate([chunk.id for chunk in fresh]) if fresh else {}
        missing: list[Chunk] = []
        with self._mutex:
            for chunk in fresh:
                # A place that can't be this chunk's is none: sending it again costs bytes, believing it the content.
                if (place := found.get(chunk.id)) is not None and place.raw == chunk.raw:
                    chunk.place, chunk.data = place, None
                    self.packs.add(place.pack)
                    self._pending.pop(chunk.id, None)
                else:
                    self.new_bytes += chunk.raw
                    missing.append(chunk)
        return missing

    def _compress(self, data: Data) -> Data:
        if not hasattr(self._local, "inflate"):
            self._local.pages = zstandard.ZstdCompressor(compression_params=_PAGES)
            self._local.text = zstandard.ZstdCompressor(compression_params=_TEXT)
            self._local.inflate = zstandard.ZstdDecompressor()
        fitting = self._local.pages if b"\0" in bytes(data[:_LOOKED_AT]) else self._local.text
        packed: bytes = fitting.compress(data)
        if len(packed) >= len(data):
            return data
        # A library or memory that errs here would make a chunk nobody can ever open, and every later run would rely on
        # it. Looking costs a seventh of the compressing.
        plain = unpack(packed, len(data), self._local.inflate)
        if len(plain) != len(data) or not plain.startswith(data):  # compares with a view at memory's speed
            raise HostUnsuitable("what was compressed does not decompress to itself: this host's memory may be faulty")
        return packed

    def _seal(self, chunk: Chunk, stored: Data) -> None:
        closing = None
        while True:
            with self._mutex:
                self._raise_error()
                if self._builder is not None:
                    self._builder.add(chunk.id, chunk.raw, stored)
                    self._open.append(chunk)
                    if self._builder.full:
                        closing = self._take_pack()
                    break
            self._open_pack()
        if closing:
            self._close_pack(*closing)

    # --- packs ---------------------------------------------------------------------------------------------------

    def _take_pack(self) -> tuple[PackBuilder, list[Chunk]] | None:
        if self._builder is None:
            return None
        taken = (self._builder, self._open)
        self._builder, self._open = None, []
        return taken

    def _open_pack(self) -> None:
        """Begin a pack, unless another worker just did, once there is room for one."""
        self._room.acquire()
        with self._mutex:
            if self._builder is None:
                # A thrown away buffer would cost the kernel's zeroing of 32 MiB for every pack.
                buffer = self._buffers.pop() if self._buffers else memoryview(huge_buffer(BUFFER_SIZE))
                self._builder = PackBuilder(self._key, buffer)
                return
        self._room.release()

    def _close_pack(self, builder: PackBuilder, chunks: list[Chunk]) -> None:
        sending = self._uploads.submit(self._upload, builder, chunks)
        with self._mutex:
            self._sending = [each for each in self._sending if not each.done()] + [sending]
        self._watch(sending, lambda: self._end_pack(builder))

    def _end_pack(self, builder: PackBuilder) -> None:
        with self._mutex:
            self._buffers.append(builder.buffer)
        self._room.release()

    def _upload(self, builder: PackBuilder, chunks: list[Chunk]) -> None:
        with self._mutex:
            self._raise_error()
        name, data = builder.finish()
        places = builder.places(name)
        self._destination.put(builder.kind, name, data, places)
        table = msgspec.msgpack.encode(places)
        with self._mutex:
            self.stored_bytes += len(data)
            self.packs.add(name)
            self.tables.append((name, msgspec.Raw(table)))
            for chunk, place in zip(chunks, places, strict=True):
                chunk.place = place
                # From here on the destination knows it: a later twin is found by locate, and memory stays bounded.
                self._pending.pop(chunk.id, None)
