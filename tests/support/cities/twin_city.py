"""A small city with two points in two stores, made once and copied for every test that breaks something in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from drbackup.controller.home.installation import Installation
from tests.support.cities.small_city import SOURCE, SYSTEM, SmallCity
from tests.support.runs import run_backup

FIRST = {b"a": b"alpha" * 1000, b"b": b"beta" * 2000}
SECOND = {**FIRST, b"c": b"gamma" * 3000}


@dataclass
class Clock:
    """The controller's clock, moved by the test."""

    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        self.at += timedelta(microseconds=1)
        return self.at

    def passes(self, **length: float) -> None:
        self.at += timedelta(**length)


def build(root: Path, **city: object) -> SmallCity:
    """Two points of one source: ``FIRST``, then ``SECOND``."""
    made = SmallCity(root, **{"copies": "main, other", "module": "drbackup_agent", **city}).build()  # type: ignore[arg-type]
    with made.open() as installation:
        run_backup(installation, SYSTEM, SOURCE)
        (made.data / "c").write_bytes(SECOND[b"c"])
        run_backup(installation, SYSTEM, SOURCE)
    return made


def copy(made: SmallCity, root: Path, **city: object) -> SmallCity:
    """The same city elsewhere: everything but its agent's memory."""
    for folder in ("home", "policies", "data", "store-main", "store-other"):
        shutil.copytree(made.root / folder, root / folder, copy_function=shutil.copy2)
    again = SmallCity(root, **{"copies": made.copies, "module": made.module, **city})  # type: ignore[arg-type]
    again.new_installation = made.new_installation
    again.write_policies()
    return again


def both(installation: Installation) -> tuple[str, str]:
    """The ids of the older and the newer point."""
    newer, older = installation.catalog.points.list(system=SYSTEM)
    return older.id, newer.id


def read(city: SmallCity, point: str, store: str) -> dict[bytes, bytes]:
    """Every file of a point by its own name, from one store alone."""
    return {path.rsplit(b"/")[-1]: data for path, data in city.read(point, store).items()}


def objects(city: SmallCity, store: str, part: str = "v1/") -> Iterator[Path]:
    """Every object of a store whose name contains ``part``."""
    folder = city.root / f"store-{store}"
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith(".") and part in path.relative_to(folder).as_posix():
            yield path


def flip(path: Path) -> None:
    """One bit, in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    overwrite(path, bytes(data))


def cut(path: Path) -> None:
    overwrite(path, path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)


def remove(path: Path) -> None:
    path.unlink()


HARMS = {"flipped": flip, "truncated": cut, "deleted": remove}


def name_of(city: SmallCity, store: str, path: Path) -> str:
    """An object's name."""
    return path.relative_to(city.root / f"store-{store}").as_posix()


def contents(city: SmallCity, store: str) -> dict[str, bytes]:
    """Every object with its bytes."""
    return {name_of(city, store, path): path.read_bytes() for path in objects(city, store)}
