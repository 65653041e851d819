"""A backup of many small files to a store that answers late: few requests, and uploads go side by side."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from drbackup.vault.write.pack_sink import UPLOADS
from tests.support.cities.small_city import SOURCE, SYSTEM, SmallCity
from tests.support.runs import run_backup
from tests.support.services.faulty_proxy import Fault, FaultyProxy
from tests.support.services.seaweedfs import S3Server

pytestmark = pytest.mark.s3
IN_TURN = 12  # requests of a run that can only be made one behind the other


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


def test_a_far_away_store_is_asked_rarely_and_by_several_uploads_at_once(
    s3_server: S3Server, make_proxy: Callable[[str], FaultyProxy], tmp_path: Path
) -> None:
    """The distance costs a backup its requests one behind the other: few, and none that sends data. No upload of data
    is answered before the next one is under way, so a run that waited for each would never end."""
    proxy = make_proxy(s3_server.endpoint)
    city = cloud_city(tmp_path, s3_server, proxy)
    fill(city, 0)
    before = len(proxy.asked)
    uploads = Fault(times=1 << 30, method="PUT", matching="/p/", together=UPLOADS)
    proxy.faults = [uploads]
    with city.open() as installation:
        run_backup(installation, SYSTEM, SOURCE)
    asked = proxy.asked[before:]
    sent = [path for method, path in asked if method == "PUT" and "/p/" in path]
    assert uploads.most == UPLOADS
    assert len(sent) > UPLOADS
    assert len(asked) <= 14
    assert len(asked) - len(sent) <= IN_TURN
