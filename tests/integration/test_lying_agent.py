"""A department's server in an enemy's hands: whatever its agent says of its copy, a lie never becomes a point."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drbackup.controller.copies.scrub import scrub
from drbackup.errors import PacksMissing, ProtocolViolation
from drbackup.model.point import Rung
from drbackup.vault.layout import pack_name
from drbackup.vault.tree import PAGE_LEAST, ends_page
from tests.support.cities.small_city import SOURCE, SYSTEM, SmallCity
from tests.support.doubles.faulty_store import Trouble, break_store, faulty
from tests.support.doubles.lying_agent import LATER_LIES, LIES
from tests.support.runs import run_backup


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def city(tmp_path: Path) -> SmallCity:
    return SmallCity(tmp_path, module="tests.support.doubles.lying_agent").build()


@pytest.mark.parametrize("lie", sorted(LIES))
def test_a_lie_never_becomes_a_point(city: SmallCity, lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = b"a pack of the neighbour's domain"
    name = hashlib.sha256(foreign).digest()
    monkeypatch.setenv("LYING_AGENT_PACK", (b"p" + name).hex())
    with city.open() as installation:
        installation.store("main").put(pack_name("neighbour", "p", name), foreign)
        monkeypatch.setenv("LYING_AGENT", lie)
        with pytest.raises((ProtocolViolation, PacksMissing)) as caught:
            run_backup(installation, SYSTEM, SOURCE)
        assert "fault in drbackup" not in str(caught.value)
        assert list(installation.catalog.points.list()) == []
        assert list(installation.store("main").list("v1/r/")) == []
        monkeypatch.setenv("LYING_AGENT", "")
        point = run_backup(installation, SYSTEM, SOURCE)  # nothing of the lie stays behind
    assert city.read(point.id) == {b"a": b"alpha" * 1000, b"b": b"beta" * 2000}


@pytest.mark.parametrize("lie", sorted(LATER_LIES))
def test_a_later_lie_leaves_the_earlier_point_alone(city: SmallCity, lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    border = next(n for n in range(PAGE_LEAST, 10_000) if ends_page(b"f%05d" % n, PAGE_LEAST))
    for number in range(border + 2):  # two pages, of which the next run changes the second
        (city.data / f"f{number:05}").touch()
    with city.open() as installation:
        point = run_backup(installation, SYSTEM, SOURCE)
        (city.data / f"f{border + 1:05}").write_bytes(b"changed")
        monkeypatch.setenv("LYING_AGENT", lie)
        with pytest.raises(ProtocolViolation):
            run_backup(installation, SYSTEM, SOURCE)
        assert [each.id for each in installation.catalog.points.list()] == [point.id]
    assert city.read(point.id)[b"a"] == b"alpha" * 1000


def test_what_scrub_found_damaged_is_not_relied_upon_again(tmp_path: Path) -> None:
    city = SmallCity(tmp_path, module="drbackup_agent").build()
    with city.open() as installation:
        run_backup(installation, SYSTEM, SOURCE)
        for pack in (city.root / "store-main").rglob("p/*"):
            pack.chmod(0o600)
            data = bytearray(pack.read_bytes())
            data[len(data) // 2] ^= 1  # same size: no look at the store can tell
            pack.write_bytes(data)
        report = scrub(installation, "main", now=now)
        assert len(report.damages) == 1
        second = run_backup(installation, SYSTEM, SOURCE)
        healed = scrub(installation, "main", now=now)
        assert healed.proven == (second.id,)
        assert installation.catalog.points.get(second.id).rung is Rung.CHECKSUMMED
    assert sorted(city.read(second.id).values()) == sorted([b"alpha" * 1000, b"beta" * 2000])


def test_a_point_found_damaged_is_not_called_proven_any_longer(tmp_path: Path) -> None:
    city = SmallCity(tmp_path, module="drbackup_agent").build()
    with city.open() as installation:
        point = run_backup(installation, SYSTEM, SOURCE)
        points = installation.catalog.points
        assert scrub(installation, "main", now=now).proven == (point.id,)
        assert points.last(SYSTEM, SOURCE).rung is Rung.CHECKSUMMED
        next((city.root / "store-main").rglob("p/*")).unlink()
        assert scrub(installation, "main", now=now).proven == ()
        assert points.last(SYSTEM, SOURCE).rung is Rung.WRITTEN


def test_a_tree_that_the_store_gives_back_altered_is_sent_again(city: SmallCity) -> None:
    with city.open(stores=faulty) as installation:
        break_store(installation, "main", Trouble("put", at=1, kind="flipped", matching="/t/"))
        point = run_backup(installation, SYSTEM, SOURCE)
    assert city.read(point.id) == {b"a": b"alpha" * 1000, b"b": b"beta" * 2000}
