"""What ten million files or ten terabytes would take, from a tenth or a thousandth of them without a single real file.

Two measurements: the catalog with so many chunk rows (bytes a row, time and steps of one question), and the writer with
so many generated entries (memory, bytes of the tree, what a day with one changed file in a hundred adds).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.packs import Pack
from drbackup.vault.tree import Entry, EntryKind, Extent
from drbackup.vault.write.writer import PointWriter
from drbackup.wire.messages import Place
from tests.longlife.counted import CountedCatalog, CountingStore, Tally
from tests.support.cities.small_vault import SmallVault

DOMAIN, STORE = "db1.bureau", "main"
CHUNKS_IN_A_PACK = 40  # of a megabyte each
FILES_IN_A_CHUNK = 64
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class CatalogScale:
    """A catalog with ``chunks`` rows. Bytes and seconds (CPU); ``steps`` of one question, in tens."""

    chunks: int
    bytes_a_chunk: float
    insert_a_chunk: float
    question: int
    locate: float
    steps: int


@dataclass(frozen=True)
class TreeScale:
    """Trees of ``entries`` files. Bytes and CPU seconds; ``memory``: of the whole process at its peak, with three times
    as many ``thrice``, with hardly one ``ground``; ``again``: what the tree of a day without a change adds,
    ``hundredth``: with one file in a hundred changed at random, ``folder``: the same number in one place."""

    entries: int
    memory: int
    ground: int
    thrice: int
    tree_an_entry: float
    cpu_an_entry: float
    again: int
    hundredth: int
    folder: int


def fill(folder: Path, chunks: int) -> CatalogScale:
    """Add packs until there are so many chunks, as a backup's handler does; then ask where some of them lie."""
    tally = Tally()
    with Catalog.open(folder / "catalog.sqlite") as catalog:
        counted = CountedCatalog(catalog, tally)
        empty, began = counted.bytes(), time.process_time()
        for number in range(chunks // CHUNKS_IN_A_PACK):
            name = _hash(b"pack", number)
            places = [_place(name, number * CHUNKS_IN_A_PACK + each, each) for each in range(CHUNKS_IN_A_PACK)]
            catalog.packs.add(Pack(DOMAIN, "p", name, 40 << 20, "filled"), STORE, places, now=NOW)
        inserting = time.process_time() - began
        size = counted.bytes() - empty
        asked = [_hash(b"chunk", number * 977 % (2 * chunks)) for number in range(256)]
        before, began = tally.copy(), time.process_time()
        rounds = 20
        for _ in range(rounds):
            catalog.packs.locate(DOMAIN, STORE, asked)
        each = (time.process_time() - began) / rounds
        steps = tally.since(before).steps // rounds
    return CatalogScale(chunks, size / chunks, inserting / chunks, len(asked), each, steps)


def _hash(kind: bytes, number: int) -> bytes:
    return hashlib.sha256(b"%s %d" % (kind, number)).digest()


def _place(pack: bytes, chunk: int, ordinal: int) -> Place:
    return Place(_hash(b"chunk", chunk), pack, ordinal, ordinal << 20, 1 << 20, 1 << 20)


class _Vault(SmallVault):
    """A vault whose store forgets the bytes: only their number matters here."""

    def __init__(self) -> None:
        self.tally = Tally()
        super().__init__(store=_Forgetful("forgetful", self.tally))


class _Forgetful(CountingStore):
    def put(self, name: str, data: bytes | memoryview) -> None:
        self.tally.requests += 1
        self.tally.written += len(data)


def entries(count: int, changed: range | None = None, every: int = 0) -> Iterator[tuple[Entry, Extent, bytes]]:
    """So many files with plausible names, times and places; those in ``changed``, or one in ``every``, as on day 2."""
    for number in range(count):
        day = 2 if (changed is not None and number in changed) or (every and _mixed(number) % every == 0) else 1
        chunk, within = divmod(number, FILES_IN_A_CHUNK)
        pack = _hash(b"pack %d" % day, chunk // CHUNKS_IN_A_PACK)
        place = _place(pack, chunk + day, chunk % CHUNKS_IN_A_PACK)
        path = b"srv/%03d/%04d/document-%08d.pdf" % (number >> 16, number >> 8 & 0xFF, number)
        entry = Entry(path, EntryKind.FILE, 0o640, 1000, 1000, "web", "web", 10**18 * day + number, size=16 << 10)
        yield entry, Extent(place, within * (16 << 10), 16 << 10), _hash(b"body %d" % day, number)


def _mixed(number: int) -> int:
    return number * 0x9E3779B97F4A7C15 % (1 << 64) >> 20


def _write(vault: _Vault, count: int, **how: Any) -> int:
    """Bytes that one point of these entries stores."""
    before = vault.tally.written
    with PointWriter(vault.destination, vault.domain_keys, session="scale") as writer:
        for entry, extent, digest in entries(count, **how):
            writer.keep(msgspec.structs.replace(entry, digest=digest, extents=(extent,)))
        writer.finish()
    return vault.tally.written - before


def grow(count: int) -> TreeScale:
    """In a process of its own, because memory is measured."""
    ground, thrice = (int(_peak_of(number, "first")["memory"]) for number in (1000, 3 * count))
    return TreeScale(entries=count, ground=ground, thrice=thrice, **_peak_of(count))  # type: ignore[arg-type]


def _peak_of(count: int, *only: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.longlife.scale", str(count), *only]
    done = subprocess.run(command, check=True, capture_output=True, env=dict(os.environ))
    found: dict[str, float] = msgspec.json.decode(done.stdout)
    return found


def _measure(count: int, *only: str) -> dict[str, float]:
    vault = _Vault()
    if only:
        _write(vault, count)
        return {"memory": _peak()}
    began = time.process_time()
    first = _write(vault, count)
    cpu = time.process_time() - began
    again = _write(vault, count)
    hundredth = _write(vault, count, every=100)
    folder = _write(vault, count, changed=range(count // 2, count // 2 + count // 100))
    return {
        "memory": _peak(),
        "tree_an_entry": first / count,
        "cpu_an_entry": cpu / count,
        "again": again,
        "hundredth": hundredth,
        "folder": folder,
    }


def _peak() -> int:
    """Bytes this process had at most. Not the kernel's accounting of children: it begins with the parent's peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(_measure(int(sys.argv[1]), *sys.argv[2:])).decode())
