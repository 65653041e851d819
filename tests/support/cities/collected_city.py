"""A small city whose policy keeps the newest point only, and the instants at which it is collected."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from drbackup.controller.collect.collect import CollectReport
from drbackup.controller.collect.setup import adopt_lost, collecting_alone, collector
from drbackup.controller.home.installation import Installation
from drbackup.model.collect import COLLECT_GRACE, CollectPlan
from drbackup.model.point import Point
from drbackup.vault.layout import digest_in_name
from drbackup.vault.record import list_records, read_record
from tests.support.cities.small_city import AGENT, SOURCE, SYSTEM, SmallCity
from tests.support.runs import run_backup

# The controller's clock in these tests stands still, the agents' is the machine's: what they pin must not lie ahead.
BEGIN = datetime.now(UTC) + timedelta(hours=3)
DAY = timedelta(days=1)
LATER = BEGIN + COLLECT_GRACE + DAY  # everything stored at BEGIN is older than the grace
AT_LAST = LATER + COLLECT_GRACE + DAY  # everything condemned at LATER is


@dataclass(frozen=True)
class TwoPoints:
    """A city with an old point that no rule keeps, and a new one. Made once, put back before every test: copying a
    tree is much quicker than two backups."""

    city: SmallCity
    saved: Path
    old: Point
    new: Point

    @classmethod
    def make(cls, folder: Path) -> TwoPoints:
        city = keeping_one(folder / "city")
        with city.open() as installation:
            old, new = back_up(installation, city, b"old"), back_up(installation, city, b"new", 1)
        shutil.copytree(city.root, folder / "saved", symlinks=True)
        return cls(city, folder / "saved", old, new)

    def put_back(self) -> TwoPoints:
        """As it was when it was made."""
        shutil.rmtree(self.city.root)
        shutil.copytree(self.saved, self.city.root, symlinks=True)
        return self


def clock(instant: datetime) -> Callable[[], datetime]:
    return lambda: instant


def keeping_one(root: Path, **more: str) -> SmallCity:
    """Of every source the newest point is kept and no other."""
    return SmallCity(root, copies="main, other", keep="daily: 1", **more).build()


def write(city: SmallCity, text: bytes) -> None:
    """Other content in every file of the source."""
    for name in ("a", "b"):
        (city.data / name).write_bytes(text * 1000 + name.encode())


def back_up(installation: Installation, city: SmallCity, text: bytes, after: float = 0.0) -> Point:
    """A point of which every byte is new, committed so many minutes after BEGIN."""
    write(city, text)
    return run_backup(installation, SYSTEM, SOURCE, now=clock(BEGIN + timedelta(minutes=after)))


def plan(installation: Installation, now: datetime, *stores: str) -> CollectPlan:
    return collector(installation, stores, clock(now)).plan()


def collect(installation: Installation, now: datetime, *stores: str) -> CollectReport:
    """As the command does it."""
    with collecting_alone(installation):
        adopt_lost(installation, stores, now=now)
        return collector(installation, stores, clock(now)).apply()


def objects(installation: Installation, store: str, prefix: str = "v1/d/") -> set[str]:
    return {stat.name for stat in installation.store(store).list(prefix)}


def records(installation: Installation, store: str) -> set[str]:
    """Ids of the points whose record is in a store."""
    return {digest_in_name(stat.name) for stat in list_records(installation.store(store))}


def packs_of(installation: Installation, point: Point, store: str = "main") -> set[str]:
    """Names of the packs that a point's record names."""
    record = read_record(installation.store(store), point.name, installation.signer.public)
    return {f"v1/d/{AGENT}/{chr(pack[0])}/{pack[1:].hex()}" for pack in record.packs}
