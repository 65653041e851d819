"""What :mod:`tests.property.test_size_bombs` sets off: name → something that makes ready and returns the reading.

As a program, it sets each off in a process of its own and prints how much memory that took, a JSON line each.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import struct
import traceback
from collections.abc import Callable
from pathlib import Path

import zstandard

from drbackup.errors import DrbackupError
from drbackup.vault.custody import join_shares
from drbackup.vault.index import read_index
from drbackup.vault.pack import HEADER_LIMIT, PackBuilder, PackOpener, SessionKey
from drbackup.vault.read.decrypt import OpenBuffer
from drbackup.vault.tree import decode_page, decode_root, decode_top
from drbackup.wire.framing import MAX_HEADER, FrameStream
from drbackup.wire.messages import Place
from tests.property.test_decoders import encode, load_cache, memory, own, pack_with, read_journal, ring, vault

CHUNK = 16 << 20  # the largest there is
Bomb = Callable[[], Callable[[], None]]
_PLACE = encode(Place(b"c" * 32, b"p" * 32, 3, 4, 5, 6))
_FORGED = encode([b"", b"", 0, 0, 0, 0])
_ADDRESSES = 3 << 30  # bytes of address space left to the reading: what is only claimed counts, too


def _many(one: bytes, size: int, *, claimed: int | None = None) -> bytes:
    """An array that holds ``one`` as often as ``size`` bytes allow, or claims to hold more."""
    count = (size - 5) // len(one)
    return b"\xdd" + struct.pack(">I", count if claimed is None else claimed) + one * count


def _reading(read: Callable[[], object]) -> Callable[[], None]:
    def quietly() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
        with contextlib.suppress(DrbackupError):
            read()

    return quietly


def _page(entry: object, claimed: int | None = None) -> Bomb:
    def ready() -> Callable[[], None]:
        data = _many(encode(entry), CHUNK, claimed=claimed)
        return _reading(lambda: decode_page(data, "a page"))

    return ready


def _one_entry_with(field: int, one: bytes) -> Bomb:
    def ready() -> Callable[[], None]:
        fields = [b"\xc4\x01a", b"\x00", *[encode(each) for each in (0, 0, 0, "", "", 0, 0, 0, b"", [0, 0])]]
        fields += [b"\x90", b"\xc4\x00", b"\xff", b"\x90", b"\x90"]
        fields[field] = _many(one, CHUNK - 200)
        data = b"\x91\xdc" + struct.pack(">H", len(fields)) + b"".join(fields)
        return _reading(lambda: decode_page(data, "a page"))

    return ready


def _top() -> Callable[[], None]:
    data = _many(b"\x92\xc4\x00" + _PLACE, CHUNK)
    return _reading(lambda: decode_top(data, "a top", b"p" * 32))


def _frame(tag: str, field: str, value: bytes, **rest: object) -> Bomb:
    def ready() -> Callable[[], None]:
        fields = b"".join(encode(name) + encode(each) for name, each in {"type": tag, **rest}.items())
        header = bytes([0x80 + 2 + len(rest)]) + fields + encode(field) + value
        assert len(header) <= MAX_HEADER
        data = struct.pack(">II", len(header), 0) + header
        return _reading(lambda: FrameStream(io.BytesIO(data), io.BytesIO()).receive())

    return ready


def _result(tag: str, field: str, value: bytes, **rest: object) -> Bomb:
    fields = b"".join(encode(name) + encode(each) for name, each in {"type": tag, **rest}.items())
    return _frame("finished", "result", bytes([0x80 + 2 + len(rest)]) + fields + encode(field) + value)


def _claims(header: int, body: int) -> Bomb:
    return lambda: _reading(FrameStream(io.BytesIO(struct.pack(">II", header, body)), io.BytesIO()).receive)


def _delta(plain: Callable[[], bytes], raw: int | None = None) -> Bomb:
    """An index delta of few bytes, opened whole."""

    def ready() -> Callable[[], None]:
        text = plain()
        data = pack_with(zstandard.ZstdCompressor().compress(text), raw=len(text) if raw is None else raw)
        assert len(data) < 1 << 20
        return _reading(lambda: [len(table.places) for table in read_index(data, vault().domain, ring(), "a delta")])

    return ready


def _wide_window(raw: int) -> Bomb:
    """A chunk of few bytes whose frame wants a window of 128 MiB and does not say how long its content is."""

    def ready() -> Callable[[], None]:
        wide = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
        packer = zstandard.ZstdCompressor(compression_params=wide).compressobj()
        frame = packer.compress(bytes(raw)) + packer.flush()
        builder = PackBuilder(SessionKey.new("p", vault().domain_keys), memory())
        builder.add(b"c" * 32, raw, frame)
        data = bytes(builder.finish()[1])
        place = Place(b"c" * 32, b"p" * 32, 0, builder.offsets[0], builder.rows[0].size, raw)
        opener = PackOpener(data[:HEADER_LIMIT], vault().domain, ring(), "a pack")
        sealed = memoryview(data)[place.offset : place.offset + place.size]
        room = memoryview(bytearray(raw))
        return _reading(lambda: OpenBuffer().open(opener, place, sealed, room, "a pack"))

    return ready


def _table(one: bytes, claimed: int | None = None) -> Bomb:
    def ready() -> Callable[[], None]:
        data = pack_with(b"x", _many(one, 30 << 20, claimed=claimed))
        return _reading(lambda: own(data))

    return ready


def _distinct(count: int) -> bytes:
    """A map of so many different short keys."""
    return b"\xdf" + struct.pack(">I", count) + b"".join(b"\xa4%04x\xa0" % (number & 0xFFFF) for number in range(count))


HEADER = MAX_HEADER - 200

BOMBS: dict[str, Bomb] = {
    "a page of the smallest entries": _page([b"", 0]),
    "a page that claims more entries than it has": _page([b"", 0], claimed=1 << 31),
    "an entry of many holes": _one_entry_with(16, b"\x92\x00\x00"),
    "an entry of many extents": _one_entry_with(15, b"\x93" + _PLACE + b"\x00\x00"),
    "an entry of many forged extents": _one_entry_with(15, b"\x93" + _FORGED + b"\x00\x00"),
    "an entry of many attributes": _one_entry_with(12, b"\x92\xc4\x00\xc4\x00"),
    "a top of many pages": _top,
    "a root of arrays in arrays": lambda: _reading(lambda: decode_root(b"\x91" * (32 << 20))),
    "a frame that claims four gigabytes": _claims(0xFFFFFFFF, 0xFFFFFFFF),
    "a frame that claims what is allowed": _claims(MAX_HEADER, 96 << 20),
    "many places": _frame("uploaded", "places", _many(_PLACE, HEADER), ask=1, kind="p", pack=b"p" * 32, size=9),
    "many forged places": _frame("uploaded", "places", _many(_FORGED, HEADER), ask=1, kind="p", pack=b"", size=9),
    "many lines": _result("restore-result", "notes", _many(b"\xa0", HEADER), entries=0, files=0, content_bytes=0),
    "many facts": _result("preflight-result", "lines", _distinct(1 << 17)),
    "as many facts as are allowed": _result("preflight-result", "lines", _distinct(1 << 16)),
    "as many places as are allowed": _frame(
        "uploaded", "places", _many(_PLACE, len(_PLACE) * (1 << 17) + 5), ask=1, kind="p", pack=b"p" * 32, size=9
    ),
    "many fields that nobody knows": _frame("stored", "x", _many(b"\xa0", HEADER), ask=1),
    "arrays in arrays": _frame("stored", "x", b"\x91" * HEADER, ask=1),
    "a delta of many places": _delta(lambda: b"\x93\xa1s\xc4\x20" + b"p" * 32 + _many(_PLACE, CHUNK - 50)),
    "a delta of many forged places": _delta(lambda: b"\x93\xa1s\xc4\x20" + b"p" * 32 + _many(_FORGED, CHUNK - 50)),
    "a delta that inflates to more than it says": _delta(lambda: bytes(200 << 20), raw=5000),
    "a delta whose chunk claims all memory": _delta(lambda: b"\xc0", raw=1 << 62),
    "a chunk with a wide window": _wide_window(1000),
    "a large chunk with a wide window": _wide_window(CHUNK),
    "a table of the smallest rows": _table(b"\x93\xc4\x00\x00\x00"),
    "a table of many rows": _table(encode([b"c" * 32, 17, 1])),
    "a table that claims more rows than it has": _table(encode([b"c" * 32, 17, 1]), claimed=0xFFFFFFFF),
    "a cache that claims four gigabytes": lambda: _reading(lambda: load_cache(b"drbackup-cache-2\n" + b"\xff" * 4)),
    "a journal that claims four gigabytes": lambda: _reading(
        lambda: read_journal(b"drbackup-restore-1 point folder\n\xff\xff\xff\xff")
    ),
    "a share of a million words": lambda: _reading(lambda: join_shares(["academic " * 1_000_000] * 2)),
}


def _highest() -> int:
    """This process's greatest memory since it was last forgotten, KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _set_off(name: str) -> None:
    read = BOMBS[name]()
    with contextlib.suppress(OSError):  # where it is not allowed, what making ready took may hide a little
        Path("/proc/self/clear_refs").write_text("5")  # forgets the highest so far
    before = _highest()
    read()
    print(json.dumps({name: _highest() - before >> 10}), flush=True)


def main() -> None:
    for name in BOMBS:
        child = os.fork()
        if not child:
            try:
                _set_off(name)
            except BaseException:  # noqa: BLE001 — printed, and missing from what is measured
                traceback.print_exc()
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
