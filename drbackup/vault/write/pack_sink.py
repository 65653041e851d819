"""From plain chunks to stored packs, on a few threads with bounded memory.

One :class:`ChunkSink` serves one kind of pack in one session. Chunks are handed over in batches. A worker names the
chunks of a batch and asks the destination once which of them it has. It compresses the others and seals them into the
one open pack. A full pack is closed and uploaded by another thread. A :class:`Chunk` has its place once its pack is
stored.

A crash anywhere here leaves packs in the store that no record names. The next run finds their chunks through the
controller and does not send them again.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
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

BATCH_BYTES = 4 << 20  # plain bytes
BATCH_CHUNKS = 256
UPLOADS = 2  # packs being uploaded at once; with the open one they bound the memory
# How chunks are compressed is not part of the format. For pages it is zstd's level 3 with two changes. The short table
# is a quarter as large, so that it stays in a core's first cache, and matches of four bytes are not looked for. That is
# a tenth to a sixth faster and makes text 0.8 % and database pages 1.6 % larger. For text one table is enough: a sixth
# faster again, and 0.7 % (SQL) to 2 % (code and logs) larger. Pages would be 3 % larger with it.
_PAGES = zstandard.ZstdCompressionParameters(
    strategy=zstandard.STRATEGY_DFAST, window_log=20, hash_log=17, chain_log=14, search_log=1, min_match=5
)
_TEXT = zstandard.ZstdCompressionParameters(
    strategy=zstandard.STRATEGY_FAST, window_log=20, hash_log=16, chain_log=6, search_log=1, min_match=6
)
_LOOKED_AT = 4096  # bytes of a chunk that tell whether it is text
_PACKS_TRIED = 8


class PackDestination(Protocol):
    """The place where a writer looks for chunks and stores packs. Thread-safe. Raises :mod:`drbackup.errors` only."""

    def locate(self, ids: Sequence[bytes]) -> dict[bytes, Place]:
        """The places of those of ``ids`` (32 bytes each) that the domain has; the others are missing."""
        ...

    def put(self, kind: str, pack: bytes, data: bytes | memoryview, places: Sequence[Place]) -> None:
        """The pack is durable and its chunks are remembered once this has returned.

        ``kind``: one of :data:`~drbackup.vault.layout.PACK_KINDS`; ``pack``: SHA-256 of ``data``, 32 bytes. ``data`` is
        memory of the writer, which uses it for other bytes afterwards.
        """
        ...


class Chunk:
    """A chunk that was handed over to be stored."""

    __slots__ = ("data", "id", "place", "raw", "twin")

    def __init__(self, data: Data) -> None:
        self.data: Data | None = data  # None once it is sealed, or known to be stored already
        self.raw = len(data)  # plain bytes
        self.id = b""  # 32 bytes, once a worker has named it
        self.place: Place | None = None  # once it was found in the vault, or its own pack is stored
        self.twin: Chunk | None = None  # an earlier chunk with the same content, whose place is this one's too

    def known_place(self) -> Place | None:
        """The place of this content, as its own or as its twin's; None while it is not known."""
        return self.place if self.twin is None else self.twin.known_place()


class ChunkSink:
    """The way of chunks into packs: those that the destination lacks are stored, each once.

    :meth:`add` may be called from several threads.
    """

    def __init__(self, destination: PackDestination, key: SessionKey, id_key: bytes, workers: int) -> None:
        self.new_bytes = 0  # plain bytes of chunks that the destination did not have
        self.stored_bytes = 0  # bytes of stored packs
        self.packs: set[bytes] = set()  # SHA-256 of each pack that holds a chunk handed over
        self.tables: list[tuple[bytes, msgspec.Raw]] = []  # pack → its places, encoded: there are many
        self._destination = destination
        self._key = key
        self._id_key = id_key
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=f"seal-{key.kind}")
        self._uploads = ThreadPoolExecutor(UPLOADS, thread_name_prefix=f"send-{key.kind}")
        self._batches = threading.BoundedSemaphore(workers + 1)
        self._room = threading.BoundedSemaphore(UPLOADS + 1)  # packs in memory: the open one and those being uploaded
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
        """The chunk of ``data``, handed over to be stored.

        Raises what a worker raised before. Raises :class:`FormatUnsupported` for more bytes than a reader takes back:
        the places of a file of many terabytes don't fit into one page.
        """
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
        """The workers get what is gathered so far, without waiting for a full batch."""
        with self._mutex:
            batch = self._take_batch()
        if batch:
            self._submit(batch)

    def hurry(self) -> None:
        """The open pack is closed before it is full, so that its chunks get their places without waiting for more."""
        self.push()
        with self._mutex:
            closing = self._take_pack()
        if closing:
            self._close_pack(*closing)

    def close_with(self, chunks: Sequence[Chunk], encode: Callable[[Sequence[Place]], bytes], here: bytes) -> Chunk:
        """The chunk that lists the places of earlier ``chunks``, in the same pack as those that are not stored yet.

        ``encode`` makes its bytes from their places. The name of its own pack is not known before the pack's last byte,
        so places in that pack have ``here`` as the pack's name. To be called once, before :meth:`finish`.
        """
        self.push()
        self._pool.shutdown(wait=True)
        for sending in self._sending:
            sending.result()
        with self._mutex:
            self._raise_error()
            self._place_open_chunks(here)
        places = [place for chunk in chunks if (place := chunk.known_place()) is not None]
        if self._builder is None and (stored := self._find_list(places, encode, here)) is not None:
            return stored
        listing = Chunk(encode(places))
        self._work([listing])
        return listing

    def _place_open_chunks(self, here: bytes) -> None:
        """The chunks of the open pack have places in a pack named ``here``, until the upload gives them their own."""
        if self._builder is not None:
            for chunk, place in zip(self._open, self._builder.places(here), strict=True):
                chunk.place = place

    def _find_list(
        self, places: Sequence[Place], encode: Callable[[Sequence[Place]], bytes], here: bytes
    ) -> Chunk | None:
        """The stored chunk that lists exactly these ``places``, from an earlier session; None without one.

        So a run that changes nothing stores nothing. That session wrote ``here`` for the pack it then had open. Which
        one that was is not recorded, so the packs that hold most of the places are tried.
        """
        likely = [pack for pack, _ in Counter(place.pack for place in places).most_common(_PACKS_TRIED)]
        tried = [(pack, Chunk(encode(_with_pack_renamed(places, pack, here)))) for pack in likely]
        self._name(chunk for _, chunk in tried)
        found = self._destination.locate([chunk.id for _, chunk in tried]) if tried else {}
        for pack, chunk in tried:
            place = found.get(chunk.id)
            if place is not None and (place.pack, place.raw) == (pack, chunk.raw):
                chunk.place, chunk.data = place, None
                self.packs.add(pack)
                return chunk
        return None

    def finish(self) -> None:
        """All chunks handed over are stored and have their places afterwards. Raises what went wrong in any thread."""
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
        """The workers have stopped afterwards, and nothing more is stored."""
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
        self._name(batch)
        for chunk in self._missing(self._without_twins(batch)):
            assert chunk.data is not None
            self._seal(chunk, self._compress(chunk.data))
            chunk.data = None

    def _name(self, chunks: Iterable[Chunk]) -> None:
        for chunk in chunks:
            assert chunk.data is not None
            chunk.id = chunk_id(self._id_key, chunk.data)

    def _without_twins(self, batch: list[Chunk]) -> list[Chunk]:
        """The chunks whose content is not under way already. The others get the chunk that is, as their twin."""
        first: list[Chunk] = []
        with self._mutex:
            self._raise_error()
            for chunk in batch:
                if (twin := self._pending.get(chunk.id)) is not None:
                    chunk.twin, chunk.data = twin, None
                else:
                    self._pending[chunk.id] = chunk
                    first.append(chunk)
        return first

    def _missing(self, chunks: list[Chunk]) -> list[Chunk]:
        """The chunks that the destination does not have. The others get their places."""
        found = self._destination.locate([chunk.id for chunk in chunks]) if chunks else {}
        missing: list[Chunk] = []
        with self._mutex:
            for chunk in chunks:
                # A place of another size is not this chunk's. Storing the chunk again costs bytes only; relying on such
                # a place would lose the content.
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
        # A library or memory that errs here would make a chunk that nobody can ever open, and all later runs would rely
        # on it. This check costs a seventh of the compressing.
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
        """A pack is open afterwards: this thread's, once there is room for one, or that of another worker."""
        self._room.acquire()
        with self._mutex:
            if self._builder is None:
                # With a new buffer for each pack the kernel would have to zero its memory each time.
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
                # From here on the destination has it and ``locate`` finds it, so it need not be remembered here.
                self._pending.pop(chunk.id, None)


def _with_pack_renamed(places: Sequence[Place], pack: bytes, name: bytes) -> list[Place]:
    """The places, with ``name`` where the pack is ``pack``."""
    return [msgspec.structs.replace(place, pack=name) if place.pack == pack else place for place in places]
