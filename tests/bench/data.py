"""Makes a folder to measure on: many small files and some large ones, a part incompressible, the same for a seed."""

from __future__ import annotations

import random
from pathlib import Path

WORDS = 4000


def make(folder: Path, files: int, seed: int = 42) -> int:
    """``files`` files below ``folder``, log-normal sizes (median 9 KB, at most 24 MB); the bytes written."""
    chance = random.Random(seed)
    words = [f"{chance.getrandbits(32):x}"[: chance.randint(2, 8)].encode() for _ in range(WORDS)]
    total = 0
    for number in range(files):
        size = min(24_000_000, max(1, int(chance.lognormvariate(9.1, 1.87))))
        path = folder / f"d{number % 97:02d}" / f"s{number % 1013:04d}" / f"f{number:06d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body(chance, words, size))
        total += size
    return total


def body(chance: random.Random, words: list[bytes], size: int) -> bytes:
    """Random bytes one time in five, else words that compress about three to one."""
    if chance.random() < 0.2:
        return chance.randbytes(size)
    return b" ".join(chance.choices(words, k=size // 6 + 1))[:size]


def age(folder: Path, seed: int = 43) -> None:
    """A day's work: one file in a hundred gets a few bytes in its middle."""
    chance = random.Random(seed)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if chance.random() < 0.01:
            data = path.read_bytes()
            path.write_bytes(data[: len(data) // 2] + b"changed today" + data[len(data) // 2 :])
