"""A backup of many small files to a store that answers every request late: uploads go side by side."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.cities.small_city import SOURCE, SYSTEM, SmallCity
from tests.support.runs import run_backup
from tests.support.services.faulty_proxy import Fault, FaultyProxy
from tests.support.services.seaweedfs import S3Server

pytestmark = pytest.mark.s3
DELAY_SECONDS = 0.05
IN_TURN = 12  # requests of a run that can only be made one behind the other, with their connections


def cloud_city(root: Path, server: S3Server, proxy: FaultyProxy) -> SmallCity:
    place = f"bucket: {server.shared_bucket()}, endpoint: '{proxy.endpoint}'"
    place += f", credentials_file: {server.credentials_file()}"
    stores = f"  cloud: {{s3: {{{place}}}, prefix: far/{secrets.token_hex(6)}/}}\n"
    return SmallCity(root, copies="cloud", stores=stores, module="drbackup_agent").build()


def fill(city: SmallCity, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(3000):
        folder = city.data / f"{number % 40:02d}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number:05d}").write_bytes(chance.randbytes(chance.randrange(90_000)))


def seconds(city: SmallCity) -> float:
    with city.open() as installation:
        begun = time.monotonic()
        run_backup(installation, SYSTEM, SOURCE)
        return time.monotonic() - begun


def test_a_far_away_store_slows_a_backup_by_less_than_a_fifth(
    s3_server: S3Server, make_proxy: Callable[[str], FaultyProxy], tmp_path: Path
) -> None:
    proxy = make_proxy(s3_server.endpoint)
    near, far = [], []
    for attempt in range(2):  # in pairs, because other programs use this machine too
        for late, times in ((False, near), (True, far)):
            city = cloud_city(tmp_path / f"{late}{attempt}", s3_server, proxy)
            fill(city, attempt)
            before = len(proxy.seen)
            proxy.faults = [Fault(times=1 << 30, delay=DELAY_SECONDS)] if late else []
            times.append(seconds(city))
            proxy.faults = []
            assert len(proxy.seen) - before <= 14
    assert min(far) <= min(near) / 0.8 + IN_TURN * DELAY_SECONDS
