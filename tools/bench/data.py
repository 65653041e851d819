"""The data that is measured on: folders that are given, or smaller ones of the same kinds that are made here.

Day 2 of a set is a folder of changes beside a list of them, ``CHANGES.json``: paths that are ``mod`` (other bytes),
``add`` (new) and ``del`` (gone), and which ``day`` the set is on. Switching the day exchanges files by renaming, so
what did not change keeps its inode and times and every engine's memory of known files stays true.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

WORDS = 4000
_MONDAY = 1_750_000_000  # the made files' times: seconds since 1970


@dataclass(frozen=True)
class DataSet:
    """One folder to back up, with a second day when there is a folder of changes."""

    name: str
    folder: Path
    changes: Path | None = None

    @classmethod
    def parse(cls, text: str) -> DataSet:
        """``NAME=FOLDER`` or ``NAME=FOLDER,CHANGES``. Raises ``ValueError``."""
        name, separator, rest = text.partition("=")
        folder, _, changes = rest.partition(",")
        if not separator or not Path(folder).is_dir() or (changes and not Path(f"{changes}.json").is_file()):
            raise ValueError(f"{text!r} is not NAME=FOLDER[,CHANGES] with CHANGES.json beside the changes")
        return cls(name, Path(folder).absolute(), Path(changes).absolute() if changes else None)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.lstat().st_size for path in self.files())

    def files(self) -> list[Path]:
        """Every file, links left out."""
        walked = ((Path(place), names) for place, _, names in os.walk(self.folder))
        return [place / name for place, names in walked for name in names if not (place / name).is_symlink()]

    def changed(self) -> list[Path]:
        """What is new or has other bytes on day 2."""
        listed = self._list()
        return [self.folder / name for name in (*listed.get("mod", ()), *listed.get("add", ()))]

    def switch(self, day: int) -> None:
        """Make the folder day 1's or day 2's; nothing happens when it is already."""
        listed, wanted = self._list(), f"day{day}"
        if self.changes is None or listed.get("day", "day1") == wanted:
            return
        for name in listed.get("mod", ()):
            _exchange(self.folder / name, self.changes / name)
        comes, goes = ("add", "del") if day == 2 else ("del", "add")
        for name in listed.get(comes, ()):
            _move(self.changes / name, self.folder / name)
        for name in listed.get(goes, ()):
            _move(self.folder / name, self.changes / name)
        Path(f"{self.changes}.json").write_text(json.dumps({**listed, "day": wanted}))

    def _list(self) -> dict[str, list[str]]:
        if self.changes is None:
            return {}
        found: dict[str, list[str]] = json.loads(Path(f"{self.changes}.json").read_text())
        return found


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def _exchange(first: Path, second: Path) -> None:
    aside = second.with_name(f"{second.name}.aside")
    os.rename(first, aside)
    os.rename(second, first)
    os.rename(aside, second)


# --- smaller sets of our own ---------------------------------------------------------------------------------------


def make_all(folder: Path, megabytes: int, names: Collection[str]) -> list[DataSet]:
    """The sets of these names of :data:`KINDS` below ``folder``, each about so large, each with a second day."""
    made = []
    for name in names:
        maker = _MAKERS[name]
        top, changes = folder / name, folder / "changes" / name
        top.mkdir(parents=True)
        changes.mkdir(parents=True)
        listed = maker(top, changes, megabytes * 1_000_000)
        Path(f"{changes}.json").write_text(json.dumps({**listed, "day": "day1"}))
        made.append(DataSet(name, top, changes))
    return made


def make(folder: Path, files: int, seed: int = 42) -> int:
    """``files`` files below ``folder``, log-normal sizes (median 9 KB, at most 24 MB); the bytes written."""
    chance = random.Random(seed)
    words = _vocabulary(chance)
    total = 0
    for number in range(files):
        size = _size(chance)
        _write(folder / f"d{number % 97:02d}/s{number % 1013:04d}/f{number:06d}", body(chance, words, size))
        total += size
    return total


def age(folder: Path, seed: int = 43) -> None:
    """A day's work: one file in a hundred gets a few bytes in its middle."""
    chance = random.Random(seed)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if chance.random() < 0.01:
            path.write_bytes(_edited(path.read_bytes()))


def body(chance: random.Random, words: list[bytes], size: int) -> bytes:
    """Random bytes one time in five, else words that compress about three to one."""
    if chance.random() < 0.2:
        return chance.randbytes(size)
    return b" ".join(chance.choices(words, k=size // 6 + 1))[:size]


def _make_files(top: Path, changes: Path, size: int) -> dict[str, list[str]]:
    make(top, max(100, size // 51_000))
    chance = random.Random(44)
    names = sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file())
    picked = chance.sample(names, len(names) * 16 // 1000)
    changed, gone = picked[: len(picked) * 3 // 4], picked[len(picked) * 3 // 4 :]
    for name in changed:
        _write(changes / name, _edited((top / name).read_bytes()), _MONDAY + 86_400)
    words, new = _vocabulary(chance), [f"d00/new{number:05d}" for number in range(len(gone))]
    for name in new:
        _write(changes / name, body(chance, words, _size(chance)), _MONDAY + 86_400)
    return {"mod": changed, "add": new, "del": gone}


def _make_dump(top: Path, changes: Path, size: int) -> dict[str, list[str]]:
    """One file like a database's dump: rows in the order of their keys; a day later some are edited, some are new."""
    chance = random.Random(45)
    words = [word.decode() for word in _vocabulary(chance)]
    rows = [_row(chance, words, number) for number in range(size // 150)]
    _write(top / "city.sql", "".join(rows).encode())
    recent = len(rows) * 19 // 20
    for number in (*chance.sample(range(len(rows)), len(rows) // 20_000 + 1), *range(recent, len(rows), 40)):
        rows[number] = _row(chance, words, number)
    rows += [_row(chance, words, number) for number in range(len(rows), len(rows) + len(rows) // 300)]
    _write(changes / "city.sql", "".join(rows).encode(), _MONDAY + 86_400)
    return {"mod": ["city.sql"], "add": [], "del": []}


def _make_images(top: Path, changes: Path, size: int) -> dict[str, list[str]]:
    """Ten files that don't compress; a day later one is overwritten in places and one has an insertion."""
    chance = random.Random(46)
    each = size // 10
    for number in range(10):
        _write(top / f"image{number}.raw", chance.randbytes(each))
    patched = bytearray((top / "image3.raw").read_bytes())
    for _ in range(max(1, each >> 20)):
        place = chance.randrange(each - 65_536)
        patched[place : place + 65_536] = chance.randbytes(65_536)
    _write(changes / "image3.raw", bytes(patched), _MONDAY + 86_400)
    whole = (top / "image7.raw").read_bytes()
    _write(changes / "image7.raw", whole[: each // 2] + chance.randbytes(each // 25) + whole[each // 2 :], _MONDAY + 1)
    return {"mod": ["image3.raw", "image7.raw"], "add": [], "del": []}


_MAKERS = {"files": _make_files, "dump": _make_dump, "images": _make_images}
KINDS = tuple(_MAKERS)


def _row(chance: random.Random, words: list[str], number: int) -> str:
    name, note = " ".join(chance.choices(words, k=2)), " ".join(chance.choices(words, k=8))
    return (
        f"{number}\t{name}\t2026-01-{chance.randint(1, 31):02d}\t{chance.getrandbits(64):016x}\t{note}\t{number % 7}\n"
    )


def _vocabulary(chance: random.Random) -> list[bytes]:
    return [f"{chance.getrandbits(32):x}"[: chance.randint(2, 8)].encode() for _ in range(WORDS)]


def _size(chance: random.Random) -> int:
    return min(24_000_000, max(1, int(chance.lognormvariate(9.1, 1.87))))


def _edited(data: bytes) -> bytes:
    return data[: len(data) // 2] + b"changed today" + data[len(data) // 2 :]


def _write(path: Path, data: bytes, seconds: int = _MONDAY) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    path.write_bytes(data)
    os.utime(path, (seconds, seconds))
