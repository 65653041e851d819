"""Killed in the middle of a large backup, the next run sends what is missing and little more.

``RESUME_MIB`` sets the size of the backup (256 unless set; 2048 for the promise in full), ``RESUME_SEED`` the moments.
"""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from drbackup.stores.s3.store import S3Store
from drbackup.vault.pack import PACK_SIZE
from drbackup.vault.write.pack_sink import UPLOADS
from tests.e2e.mishap import Running, Town
from tests.support.cities.site import Answer, Site
from tests.support.poll import wait_until
from tests.support.services.seaweedfs import S3Server
from tests.support.services.tcp_proxy import CuttingProxy

SIZE = int(os.environ.get("RESUME_MIB", "256")) << 20
CHANCE = random.Random(os.environ.get("RESUME_SEED", "") or secrets.token_hex(4))
IN_FLIGHT = UPLOADS * PACK_SIZE
ALLOWED = (64 << 20) + IN_FLIGHT
BIG = "registry/big"


@dataclass(frozen=True)
class Heap:
    """A source of random bytes, and how many bytes of packs its store has."""

    town: Town
    stored: Callable[[], int]

    def reaches(self, share: float) -> Callable[[], bool]:
        begun = self.stored()
        return lambda: self.stored() - begun >= share * (SIZE - begun)

    def interrupted(self, share: float, act: Callable[[Running], object]) -> Answer:
        """A run that meets ``act`` once that share of what is still to be sent has arrived; its end."""
        with self.town.running("backup", BIG, "--json") as running:
            wait_until(self.reaches(share))
            act(running)
            return running.end()


def settle(folder: Path, store: dict[str, Any]) -> Town:
    site = Site(folder)
    site.fill()
    heap = folder / "data" / "heap"
    heap.mkdir()
    for number in range(4):
        with (heap / f"volume-{number}").open("wb") as file:
            for _ in range(SIZE // 4 >> 20):
                file.write(os.urandom(1 << 20))
    big = {"name": "big", "agent": "db1", "canary": False, "files": {"paths": [str(heap)]}}
    scans = {"name": "scans", "agent": "db1", "files": {"paths": [str(site.scans)]}}
    site.write(sources=[big, scans], drill=None)
    inventory = site.policies / "inventory.yaml"
    if store:
        document = yaml.safe_load(inventory.read_text(encoding="utf-8"))
        document["stores"] = {"offsite": store}
        inventory.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    return Town.settle(site)


@pytest.fixture
def folder_heap(tmp_path: Path) -> Heap:
    town = settle(tmp_path, {})
    packs = town.site.folder / "store" / "v1" / "d"
    return Heap(town, lambda: sum(path.stat().st_size for path in packs.glob("*/p/[0-9a-f]*")))


@pytest.fixture
def cloud_heap(tmp_path: Path, s3_server: S3Server) -> Iterator[tuple[Heap, CuttingProxy]]:
    bucket, prefix = s3_server.shared_bucket(), f"resume-{secrets.token_hex(4)}/"
    with CuttingProxy(s3_server.ports["s3"]) as proxy:
        place = {"bucket": bucket, "endpoint": f"http://127.0.0.1:{proxy.port}"}
        place["credentials_file"] = str(s3_server.credentials_file())
        town = settle(tmp_path, {"s3": place, "prefix": prefix})
        store = S3Store("look", s3_server.config(bucket, prefix=prefix))
        yield Heap(town, lambda: sum(stat.size for stat in store.list("v1/d/") if "/p/" in stat.name)), proxy


def kill_agent(running: Running) -> None:
    """A spare one, too, if it has not left yet."""
    for child in psutil.Process(running.process.pid).children(recursive=True):
        if any("drbackup_agent" in word for word in child.cmdline()):
            child.kill()


def kill_controller(running: Running) -> None:
    running.process.kill()


@pytest.mark.parametrize("kill", [kill_agent, kill_controller], ids=["agent", "controller"])
def test_a_killed_process_costs_no_more_than_what_was_on_its_way(
    folder_heap: Heap, kill: Callable[[Running], None]
) -> None:
    arrived = 0
    for share in (CHANCE.uniform(0.1, 0.6), CHANCE.uniform(0.1, 0.6)):  # later, all of it may be on its way
        ended = folder_heap.interrupted(share, kill)
        assert ended.code != 0
        assert "Traceback" not in ended.err
        arrived = folder_heap.stored()
    answer = folder_heap.town.good("backup", BIG, "--json")
    totals = answer.document["backups"][0]["point"]
    assert totals["bytes"] == SIZE
    sent_again = arrived + totals["new_bytes"] - SIZE
    assert sent_again < 2 * ALLOWED if arrived > SIZE else sent_again < ALLOWED, f"{sent_again >> 20} MiB"
    folder_heap.town.nothing_is_lost()
    restored_whole(folder_heap.town)


def test_a_network_that_breaks_off_costs_no_more_than_what_was_on_its_way(
    cloud_heap: tuple[Heap, CuttingProxy],
) -> None:
    heap, proxy = cloud_heap
    before, cuts = proxy.sent, 2
    with heap.town.running("backup", BIG, "--json") as running:
        for share in sorted(CHANCE.uniform(0.1, 0.8) for _ in range(cuts)):
            wait_until(lambda share=share: proxy.sent - before >= share * SIZE)  # type: ignore[misc]
            proxy.cut()
        ended = running.end()
    assert ended.code == 0, ended.err
    assert proxy.sent - before - SIZE < cuts * IN_FLIGHT + (4 << 20)
    heap.town.nothing_is_lost()
    restored_whole(heap.town)


def test_a_store_that_dies_and_comes_back_is_sent_only_what_it_lost(
    cloud_heap: tuple[Heap, CuttingProxy], s3_server: S3Server
) -> None:
    heap, proxy = cloud_heap
    before = proxy.sent
    with heap.town.running("backup", BIG, "--json") as running:
        share = CHANCE.uniform(0.2, 0.8)
        wait_until(lambda: proxy.sent - before >= share * SIZE)
        s3_server.restart()
        ended = running.end()
    if ended.code:  # away for longer than a run waits: the next one goes on
        heap.town.good("backup", BIG, "--json")
    assert proxy.sent - before - SIZE < ALLOWED
    heap.town.nothing_is_lost()
    restored_whole(heap.town)


def restored_whole(town: Town) -> None:
    """The large source comes back byte by byte."""
    target = town.site.folder / "back-big"
    town.good("restore", BIG, "--to", str(target))
    for path in sorted((town.site.folder / "data" / "heap").iterdir()):
        back = target / str(path).lstrip("/")
        with path.open("rb") as ours, back.open("rb") as theirs:
            while block := ours.read(1 << 22):
                assert theirs.read(len(block)) == block
            assert not theirs.read(1)
