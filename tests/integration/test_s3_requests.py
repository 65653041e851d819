"""How many requests an S3 store is asked for: an object is fetched once, and what is known is not asked for again."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drbackup.controller.copies.scrub import scrub
from drbackup.controller.restore.restore import choose_point
from drbackup.stores.base import Stat
from drbackup.wire.specs import FolderTarget
from tests.support.cities.small_city import SOURCE, SYSTEM, SmallCity
from tests.support.runs import restore_point, run_backup
from tests.support.services.seaweedfs import S3Server

pytestmark = pytest.mark.s3
LISTINGS = 1  # of names, or of versions
RECORD = 1
LOOKS = 2  # a backup's: whose vault it is, and what the agent made of the tree


class Requests:
    """A city on a bucket, and what its operations ask of that."""

    def __init__(self, root: Path, server: S3Server) -> None:
        self._server = server
        place = f"bucket: {server.make_bucket()}, endpoint: '{server.endpoint}'"
        place += f", credentials_file: {server.credentials_file()}"
        stores = f"  cloud: {{s3: {{{place}}}}}\n"
        self.city = SmallCity(root, copies="cloud", stores=stores, module="drbackup_agent").build()
        self._out = root / "out"

    def backup(self) -> int:
        with self.city.open() as installation:
            before = self._server.requests()
            run_backup(installation, SYSTEM, SOURCE)
            return self._server.requests() - before

    def restore(self) -> int:
        with self.city.open() as installation:
            point = choose_point(installation.catalog, SYSTEM, SOURCE)
            before = self._server.requests()
            restore_point(installation, point, target=FolderTarget(str(self._out)))
            asked = self._server.requests() - before
        restored = self._out / str(self.city.data)[1:]
        names = [path.relative_to(self.city.data) for path in self.city.data.rglob("*") if path.is_file()]
        assert all((self.city.data / name).read_bytes() == (restored / name).read_bytes() for name in names)
        return asked

    def scrub(self) -> int:
        with self.city.open() as installation:
            before = self._server.requests()
            report = scrub(installation, "cloud", now=lambda: datetime.now(UTC))
            asked = self._server.requests() - before
        assert report.good
        assert report.bytes >= sum(each.size for each in self.objects() if "/d/" in each.name)
        return asked

    def objects(self) -> list[Stat]:
        with self.city.open() as installation:
            return list(installation.store("cloud").list("v1/"))

    def packs(self) -> Counter[str]:
        """By kind."""
        return Counter(each.name.split("/")[3] for each in self.objects() if each.name.startswith("v1/d/"))


def fill(data: Path, chance: random.Random) -> None:
    """About 130 MB: four packs. Every fiftieth file is the same as one that came long before."""
    for number in range(1600):
        folder = data / f"{number % 40:02d}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number:05d}").write_bytes(chance.randbytes(chance.randrange(160_000)))
    for number in range(0, 1600, 50):
        (data / "39" / f"same{number}").write_bytes((data / f"{number % 40:02d}" / f"{number:05d}").read_bytes())


def test_every_operation_asks_for_each_object_once_and_little_else(s3_server: S3Server, tmp_path: Path) -> None:
    requests, chance = Requests(tmp_path, s3_server), random.Random(7)
    data = requests.city.data
    fill(data, chance)
    asked, packs = requests.backup(), requests.packs()
    assert packs["p"] >= 3
    assert asked <= packs.total() + LISTINGS + RECORD + LOOKS
    for path in sorted(path for path in data.rglob("*") if path.is_file())[::30]:  # all along the tree
        path.write_bytes(path.read_bytes()[:-3000] + chance.randbytes(2000))
    before, asked, packs = packs, requests.backup(), requests.packs()
    assert asked <= packs.total() - before.total() + LISTINGS + RECORD + LOOKS
    assert requests.restore() <= packs["p"] + packs["t"] + LISTINGS + RECORD
    assert requests.scrub() <= len(requests.objects()) + LISTINGS
