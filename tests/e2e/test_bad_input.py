"""Everything that commonly goes wrong, by the real command: a clear failure, nothing lost, and the next run succeeds.

Each way to fail is looked at closely further down (stores, transports, the runner); here only what an operator meets.
"""

from __future__ import annotations

import dataclasses
import os
import re
import secrets
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.mishap import PLACE, Town, complaint, no_room, processes_with, python_prelude, small_disk
from tests.e2e.test_restore_and_drill import contents
from tests.support.cities.site import Site
from tests.support.poll import wait_until
from tests.support.services.capability import require
from tests.support.services.faulty_proxy import Fault, FaultyProxy
from tests.support.services.seaweedfs import S3Server
from tests.support.services.sshd import SSHD, Sshd, free_port, make_key, start_sshd

EXPORT = "registry/export"
_IMPATIENT = """
import drbackup.stores.retry as retry
retry.DEFAULT_RETRY = retry.RetryLimits(total=2.0, connect=1.0, stall=0.5, first_wait=0.1, longest_wait=0.5)
"""
_AN_HOUR_AHEAD = """
import time
real = time.time_ns
time.time_ns = lambda: real() + 3_600_000_000_000
"""


def fifo(site: Site) -> Path:
    """What the source ``export`` reads: a run stands in its middle for as long as nobody ends it."""
    return site.folder / "data" / "export.fifo"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Town:
    """One for all tests here that put back what they change."""
    site = Site(tmp_path_factory.mktemp("town"))
    site.fill()
    site.write()
    policy = yaml.safe_load((site.policies / "registry.yaml").read_text(encoding="utf-8"))
    os.mkfifo(fifo(site))
    export = {"name": "export", "agent": "db1", "canary": False, "command": {"backup": ["cat", str(fifo(site))]}}
    site.write(sources=[*policy["sources"], export])
    return Town.settle(site)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """One server for the module; nobody changes it."""
    require("sshd", bool(SSHD), "OpenSSH's sshd is not installed")
    server = start_sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


def remote(town: Town, sshd: Sshd, **changes: object) -> dict[str, object]:
    """The agent db1 as one that is reached by SSH."""
    address = sshd.address()
    return {
        "transport": "ssh",
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "host_keys": list(address.host_keys),
        "key_file": address.key_file,
        "command": [sys.executable, "-m", "drbackup_agent", "serve", "--state", str(town.site.folder / "remote-db1")],
        **changes,
    }


# --- policies and names


def test_broken_yaml_is_named_by_line_and_column(town: Town) -> None:
    with town.rewritten("registry.yaml", lambda text: text + "copies: [offsite\n"):
        said = town.refused(2, "backup", PLACE)
    assert re.search(r"registry\.yaml:\d+:\d+: error: not YAML", said.failed)
    assert "policy check" in said.next
    town.nothing_is_lost()
    town.goes_on()


def test_an_unknown_agent_is_named_where_it_stands_and_guessed(town: Town) -> None:
    with town.rewritten("registry.yaml", lambda text: text.replace("agent: db1", "agent: bd1", 1)):
        said = town.refused(2, "backup", PLACE)
    assert re.search(r"registry\.yaml:\d+:\d+: error: .*bd1", said.failed)
    assert "did you mean" in said.failed
    said = town.refused(2, "restore", town.point, "--to", "/nonexistent/x", "--on", "bd1")
    assert "bd1" in said.failed
    assert "db1" in said.next
    town.nothing_is_lost()
    town.goes_on()


def test_a_wrong_key_restores_nothing_and_says_which_keys_would(town: Town) -> None:
    wrong, target = town.site.folder / "wrong.key", town.site.folder / "wrongly"
    wrong.write_text(secrets.token_hex(32))
    said = town.refused(12, "restore", town.point[:12], "--to", str(target), "--key", str(wrong))
    assert "key" in said.failed
    assert "drbackup keys combine" in said.next
    assert not contents(target)
    town.nothing_is_lost("--key", str(town.site.drill_key))
    town.goes_on()


# --- hosts


def test_a_host_that_does_not_answer_is_named(town: Town, sshd: Sshd) -> None:
    with town.amended("agents", db1=remote(town, sshd, port=free_port())):
        said = town.refused(1, "backup", PLACE)
        assert "db1" in said.failed
        assert "Connection refused" in said.failed
        assert "agents check" in said.next
        town.nothing_is_lost()
    with town.amended("agents", db1=remote(town, sshd)):
        town.goes_on()


def test_a_host_with_another_key_than_the_pinned_one_is_not_logged_in_to(
    town: Town, sshd: Sshd, tmp_path: Path
) -> None:
    logins = sshd.log.count("Accepted publickey")
    other = make_key(tmp_path / "other")
    with town.amended("agents", db1=remote(town, sshd, host_keys=[other])):
        said = town.refused(1, "backup", PLACE)
        assert "db1" in said.failed
        assert "SHA256:" in said.failed
        assert "telephone" in said.next
        assert sshd.log.count("Accepted publickey") == logins
        town.nothing_is_lost()
    with town.amended("agents", db1=remote(town, sshd)):
        town.goes_on()


def test_a_host_without_a_pinned_key_is_a_fault_of_the_inventory(town: Town, sshd: Sshd) -> None:
    with town.amended("agents", db1=remote(town, sshd, host_keys=[])):
        said = town.refused(2, "backup", PLACE)
        assert "inventory.yaml:" in said.failed
        assert "host_keys" in said.failed
    town.nothing_is_lost()
    with town.amended("agents", db1=remote(town, sshd)):
        town.goes_on()


@pytest.mark.parametrize("transport", ["local", "ssh"])
def test_an_agent_killed_in_the_middle_is_said_so_and_leaves_nothing_running(
    town: Town, sshd: Sshd, transport: str
) -> None:
    mark = f"killed-{transport}-{secrets.token_hex(4)}"
    entry = remote(town, sshd)
    command = [sys.executable, "-m", "drbackup_agent", "serve", "--state", str(town.site.folder / mark)]
    entry = {**entry, "command": command} if transport == "ssh" else {"transport": "local", "command": command}
    packs = town.site.folder / "store" / "v1" / "d"
    with town.amended("agents", db1=entry):
        held = len(list(packs.rglob("p/*")))
        with town.running("backup", EXPORT) as run, run.feeding(fifo(town.site)) as feed:
            while len(list(packs.rglob("p/*"))) == held:
                feed(os.urandom(1 << 20))
            (agent,) = (each for each in processes_with(mark) if "drbackup_agent" in each.cmdline())
            agent.send_signal(signal.SIGKILL)
            said = complaint(run.end(), 1)
        assert "db1" in said.failed
        assert "killed" in said.next
        assert not processes_with(mark)
        wait_until(lambda: not processes_with(str(fifo(town.site))))
        town.nothing_is_lost()
        export_once(town, b"the next run\n")


def export_once(town: Town, data: bytes) -> None:
    """One good backup of the export."""
    with town.running("backup", EXPORT) as run:
        with run.feeding(fifo(town.site)) as feed:
            feed(data)
        answer = run.end()
    assert answer.code == 0, answer.err
    target = town.site.folder / f"export-{secrets.token_hex(4)}"
    town.good("restore", EXPORT, "--to", str(target))
    assert [path.read_bytes() for path in target.iterdir()] == [data]


def test_a_clock_an_hour_off_stops_the_run_before_any_work(town: Town, tmp_path: Path) -> None:
    shifted = python_prelude(tmp_path / "shifted", _AN_HOUR_AHEAD)
    command = ["env", f"PYTHONPATH={shifted}", sys.executable, "-m", "drbackup_agent", "serve"]
    with town.amended("agents", db1={"transport": "local", "command": command}):
        said = town.refused(1, "backup", PLACE)
        assert "1:00:00 ahead of ours" in said.failed
        assert "db1" in said.failed
        assert "NTP" in said.next
        town.nothing_is_lost()
    town.goes_on()


def test_two_runs_of_one_source_never_run_at_once(town: Town) -> None:
    with town.running("backup", EXPORT) as first:
        with first.feeding(fifo(town.site)) as feed:
            said = town.refused(1, "backup", EXPORT)
            assert EXPORT in said.failed
            assert "wait for it" in said.next
            town.nothing_is_lost()
            town.goes_on()  # another source of the same system
            feed(b"the first run is not disturbed")
        answer = first.end()
    assert answer.code == 0, answer.err
    export_once(town, b"the second may go now")


# --- stores


@pytest.mark.root
def test_a_full_store_is_said_so_and_goes_on_when_there_is_room(bare: Site) -> None:
    disk = bare.folder / "disk"
    with small_disk(disk, "1m") as resize:
        town = Town.settle(with_stores(bare, offsite={"directory": {"path": str(disk / "store")}}))
        (bare.scans / "big.tif").write_bytes(os.urandom(4 << 20))
        said = town.refused(1, "backup", PLACE)
        assert "offsite" in said.failed
        assert "No space left" in said.failed
        assert "space at the store" in said.next
        town.nothing_is_lost()
        assert len(town.good("points", "list", "--json").document["points"]) == 1
        resize("32m")
        town.goes_on()
        town.good("vault", "scrub")


def with_stores(site: Site, **stores: object) -> Site:
    """The site with these stores, before it is founded."""
    inventory = site.policies / "inventory.yaml"
    document = yaml.safe_load(inventory.read_text(encoding="utf-8"))
    document["stores"] = stores
    inventory.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    return site


@dataclasses.dataclass(frozen=True)
class Cloud:
    """A town whose store is a real bucket, behind a proxy that can misbehave."""

    town: Town
    proxy: FaultyProxy


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Iterator[Cloud]:
    site = Site(tmp_path_factory.mktemp("cloud"))
    site.fill()
    site.write()
    proxy = FaultyProxy(s3_server.endpoint)
    bucket = s3_server.shared_bucket()
    place = {"bucket": bucket, "endpoint": proxy.endpoint, "credentials_file": str(s3_server.credentials_file())}
    with_stores(site, offsite={"s3": place, "prefix": f"e2e-{secrets.token_hex(4)}/"})
    prelude = python_prelude(
        site.folder / "impatient", _IMPATIENT
    )  # the promise is 60 s; two are enough to see it kept
    yield Cloud(Town.settle(site, PYTHONPATH=prelude), proxy)
    proxy.close()


OFTEN = 1_000


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        pytest.param(Fault(OFTEN, status=500, code="InternalError"), "500 InternalError", id="500"),
        pytest.param(Fault(OFTEN, "PUT", status=503, code="SlowDown"), "503 SlowDown", id="503-to-uploads"),
        pytest.param(Fault(OFTEN, "PUT", delay=5.0), "", id="silent-to-uploads"),
        pytest.param(Fault(OFTEN, delay=5.0), "", id="silent"),
    ],
)
def test_a_store_that_does_not_do_its_work_is_said_so(cloud: Cloud, fault: Fault, says: str) -> None:
    town = cloud.town
    cloud.proxy.faults[:] = [dataclasses.replace(fault)]
    (town.site.scans / "new.tif").write_bytes(os.urandom(10_000))
    said = town.refused(1, "backup", PLACE)
    assert says in said.failed
    assert "tries" in said.failed
    assert "store offsite" in said.failed or cloud.proxy.endpoint in said.failed
    assert "v1/" in said.failed
    assert "drbackup store probe" in said.next
    cloud.proxy.faults.clear()
    town.nothing_is_lost()
    town.goes_on()


def test_a_store_that_stumbles_is_ridden_out(cloud: Cloud) -> None:
    cloud.proxy.faults[:] = [
        Fault(2, status=503, code="SlowDown"),
        Fault(1, "PUT", status=500, code="InternalError"),
        Fault(1, "PUT", lose_answer=True),
        Fault(1, "GET", delay=1.0),
    ]
    cloud.town.goes_on()
    assert not any(fault.times for fault in cloud.proxy.faults)
    cloud.town.nothing_is_lost()


@dataclasses.dataclass(frozen=True)
class TwoCopies:
    """A town whose points lie in two folders, and the packs of its first point."""

    town: Town
    packs: tuple[str, ...]  # object names, the largest first

    def objects(self, store: str, name: str) -> Path:
        return self.town.site.folder / store / name


def two_copies(site: Site) -> TwoCopies:
    site.write(copies=["offsite", "second"])
    with_stores(site, **{name: {"directory": {"path": str(site.folder / name)}} for name in ("offsite", "second")})
    town = Town.settle(site)
    folder = site.folder / "offsite"
    found = sorted((folder / "v1" / "d").rglob("p/*"), key=lambda path: path.stat().st_size, reverse=True)
    trees = sorted((folder / "v1" / "d").rglob("t/*"))
    return TwoCopies(town, tuple(str(path.relative_to(folder)) for path in (*found, *trees)))


def damage(path: Path, *, cut: bool = False) -> bytes:
    """Flip a bit in the middle, or take the second half away; the bytes as they were."""
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.chmod(0o600)
    path.write_bytes(whole[:middle] if cut else whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    return whole


def drill_key_id(town: Town) -> bytes:
    """How packs name the key that restores here."""
    (vault, *_others) = town.good("keys", "show", "--json").document["vaults"]
    (found,) = (each["key_id"] for each in vault["recipients"] if each["role"] == "drill")
    return bytes.fromhex(found)


def test_damaged_objects_are_named_and_the_other_copy_is_read(bare: Site) -> None:
    city = two_copies(bare)
    town = city.town
    data, tree = city.packs[0], city.packs[-1]
    damage(city.objects("offsite", data), cut=True)
    damage(city.objects("offsite", tree))
    said = town.refused(1, "vault", "scrub")
    assert "offsite" in said.failed
    assert "second" not in said.failed
    assert data in said.failed
    assert tree in said.failed
    assert "other copy" in said.next
    back = town.nothing_is_lost()
    assert "store offsite" in back.err
    town.goes_on()
    town.good("vault", "scrub", "second")

    named = city.objects("offsite", city.packs[-1])
    assert drill_key_id(town) in named.read_bytes()
    named.write_bytes(named.read_bytes().replace(drill_key_id(town), bytes(8), 1))
    town.nothing_is_lost()  # a pack that seems sealed to somebody else's key is damaged, too, while another copy opens

    kept = damage(city.objects("second", data))
    target = bare.folder / "never"
    said = town.refused(1, "restore", town.point[:12], "--to", str(target))
    assert "store second" in said.failed
    assert data in said.failed
    assert not any(name.endswith(".tif") for name in contents(target))
    town.good("backup", PLACE)  # a damaged old object is no reason to stop backing up
    city.objects("second", data).write_bytes(kept)
    town.nothing_is_lost()


# --- full disks


@pytest.mark.root
def test_a_full_disk_on_a_departments_server_stops_only_what_needs_room(bare: Site) -> None:
    disk = bare.folder / "agents"
    with small_disk(disk, "16m"):
        town = Town.settle(bare)
        town.good("backup", "registry/register")
        with no_room(disk):
            town.goes_on()  # without the agent's memory of unchanged files
            said = town.refused(1, "backup", "registry/register")  # its copy has to lie somewhere
            assert str(disk) in said.failed
            assert "db1" in said.failed
            assert "free space there" in said.next
        town.nothing_is_lost()
        town.goes_on("registry/register")


@pytest.mark.root
def test_a_full_disk_under_the_catalog_is_named_and_loses_nothing(bare: Site) -> None:
    with small_disk(bare.home, "16m"):
        town = Town.settle(bare)
        with no_room(bare.home):
            said = town.refused(1, "backup", PLACE)
            assert str(bare.home / "catalog.sqlite") in said.failed
            assert "home folder's disk" in said.next
        town.nothing_is_lost()
        town.goes_on()


@pytest.mark.root
def test_a_full_disk_stops_a_restore_and_the_same_command_goes_on(bare: Site) -> None:
    for number in range(4):
        (bare.scans / f"{number}.tif").write_bytes(os.urandom(1 << 20))
    town = Town.settle(bare)
    disk = bare.folder / "disk"
    with small_disk(disk, "3m") as resize:
        words = ("restore", town.point[:12], "--to", str(disk / "back"))
        said = town.refused(1, *words)
        assert "no room to restore" in said.failed
        assert str(disk) in said.failed
        assert "same command again" in said.next
        town.nothing_is_lost()
        resize("32m")
        assert town.good(*words, "--json").document["result"]["skipped"] > 0
        assert contents(disk / "back" / str(bare.scans).lstrip("/")) == town.before
    town.goes_on()
