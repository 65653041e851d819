"""Collecting a real bucket with Object Lock: what is locked stays whole, what points need is locked for longer."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drbackup.cli.main import run
from drbackup.controller.collect.collect import CollectReport
from drbackup.controller.collect.renew_locks import STAMP_FILE, Renewal, note_renewal, renew_locks, renewal_is_due
from drbackup.controller.evidence import write_evidence
from drbackup.controller.home.installation import Installation
from drbackup.daemon.daemon import Daemon
from drbackup.errors import StoreRefused, StoreUnavailable
from drbackup.model.collect import COLLECT_GRACE, lease_ns
from drbackup.model.inventory import StoreEntry
from drbackup.model.point import Point
from drbackup.stores.base import Store
from drbackup.stores.registry import open_store
from drbackup.stores.s3.erase import S3Eraser
from drbackup.stores.s3.kind import s3_config
from drbackup.stores.s3.store import S3Store
from drbackup.vault.evidence import list_evidence
from drbackup.vault.layout import VAULT_NAME
from tests.support.cities.collected_city import clock, collect, objects, packs_of, plan, write
from tests.support.cities.small_city import AGENT, SOURCE, SYSTEM, SmallCity
from tests.support.poll import wait_until
from tests.support.runs import run_backup
from tests.support.services.seaweedfs import S3Server

pytestmark = pytest.mark.s3
LOCK_DAYS = 30
DAY = timedelta(days=1)


def locked_city(root: Path, server: S3Server, *, collecting: bool = True) -> SmallCity:
    """One copy, in a bucket that locks; the newest point is kept and no other."""
    place = f"bucket: {server.shared_bucket()}, endpoint: '{server.endpoint}', lock_days: {LOCK_DAYS}"
    place += f", credentials_file: {server.credentials_file()}"
    if collecting:
        place += f", collect_credentials_file: {server.credentials_file()}"
    stores = f"  cloud: {{s3: {{{place}}}, prefix: collect/{secrets.token_hex(6)}/}}\n"
    stores += "max_clock_skew: 60d\n"  # the controller's clock runs a lock's length behind the agent's in some tests
    return SmallCity(root, copies="cloud", keep="daily: 1", stores=stores).build()


def back_up(installation: Installation, city: SmallCity, text: bytes, now: datetime) -> Point:
    write(city, text)
    return run_backup(installation, SYSTEM, SOURCE, now=clock(now))


def versions(store: S3Store, name: str) -> list[datetime]:
    """Until when each version of a name is locked."""
    config = store.config
    page = store.client.list_object_versions(Bucket=config.bucket, Prefix=store.key(name))
    heads = [
        store.client.head_object(Bucket=config.bucket, Key=found["Key"], VersionId=found["VersionId"])
        for found in page.get("Versions", ())
    ]
    return [head["ObjectLockRetainUntilDate"] for head in heads]


def cloud(installation: Installation) -> S3Store:
    store = installation.store("cloud")
    assert isinstance(store, S3Store)
    return store


class ShortLocks:
    """Opens a store that locks what it takes for ``seconds`` only, until :meth:`end`."""

    def __init__(self, seconds: float) -> None:
        self.off = LOCK_DAYS * DAY - timedelta(seconds=seconds)

    def __call__(self, name: str, entry: StoreEntry) -> Store:
        if entry.s3 is None:
            return open_store(name, entry)
        return S3Store(name, s3_config(entry, entry.s3.credentials_file), lambda: datetime.now(UTC) - self.off)

    def end(self) -> None:
        self.off = timedelta()


def collect_until_removed(installation: Installation) -> CollectReport:
    def collected() -> CollectReport | None:
        report = collect(installation, datetime.now(UTC), "cloud")
        return report if report.removed else None

    report = wait_until(collected, pause=0.2)
    assert report is not None
    return report


def test_a_locked_point_stays_until_its_lock_is_over_and_its_packs_until_theirs_is(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """The points were made a lock's length ago, so that their locks end a few seconds from now."""
    city = locked_city(tmp_path, s3_server)
    then = datetime.now(UTC) - LOCK_DAYS * DAY
    short = ShortLocks(6)
    with city.open(stores=short) as installation:
        old = back_up(installation, city, b"old", then)
        new = back_up(installation, city, b"new", then + timedelta(seconds=1))
        short.end()
        wanted = packs_of(installation, new, "cloud")
        (ends,) = versions(cloud(installation), old.name)
        refused = collect(installation, datetime.now(UTC), "cloud")
        if datetime.now(UTC) < ends:  # else this machine was too slow to see the lock
            assert refused.removed == ()
            assert [kept.name for kept in refused.kept] == [old.name]
            assert old.id in {point.id for point in installation.catalog.points.list()}
            assert city.read(old.id, "cloud")[b"a"] == b"old" * 1000 + b"a"
        assert [point.id for point in collect_until_removed(installation).removed] == [old.id]
        assert versions(cloud(installation), old.name) == []
        assert collect(installation, datetime.now(UTC) + COLLECT_GRACE + DAY, "cloud").erased
        left = {name for name in objects(installation, "cloud") if "/i/" not in name}
        assert left == wanted
        assert all(len(versions(cloud(installation), name)) == 1 for name in left)
    assert city.read(new.id, "cloud")[b"a"] == b"new" * 1000 + b"a"


def test_what_the_catalog_knows_to_be_locked_is_not_even_tried(tmp_path: Path, s3_server: S3Server) -> None:
    city = locked_city(tmp_path, s3_server)
    now = datetime.now(UTC)
    with city.open() as installation:
        old = back_up(installation, city, b"old", now)
        back_up(installation, city, b"new", now + timedelta(seconds=1))
        shown = plan(installation, now + COLLECT_GRACE + DAY, "cloud")
        assert shown.going == ()
        (reason,) = next(decision.reasons for decision in shown.points if decision.point.id == old.id)
        assert abs(reason.until_ns / 1e9 - (now + LOCK_DAYS * DAY).timestamp()) < 60


def test_a_bucket_is_not_collected_with_the_credential_that_writes(tmp_path: Path, s3_server: S3Server) -> None:
    city = locked_city(tmp_path, s3_server, collecting=False)
    with city.open() as installation, pytest.raises(StoreRefused) as refused:
        collect(installation, datetime.now(UTC), "cloud")
    assert "collect_credentials_file" in refused.value.hint
    words = ["--home", str(city.home), "--policies", str(city.policies), "vault", "collect", "cloud"]
    assert run(words) == 0  # what would go can be looked at without the right to delete
    assert run([*words, "--apply"]) == 1


def test_the_locks_of_what_points_need_are_renewed_and_of_nothing_else(tmp_path: Path, s3_server: S3Server) -> None:
    city = locked_city(tmp_path, s3_server)
    now = datetime.now(UTC)
    with city.open() as installation:
        point = back_up(installation, city, b"new", now)
        garbage = b"left by a crashed session"
        store = cloud(installation)
        unneeded = f"v1/d/{AGENT}/p/{hashlib.sha256(garbage).hexdigest()}"
        store.put(unneeded, garbage)
        write_evidence(installation, b"{}", subject="drill", when=now)
        (told,) = list_evidence(store)
        needed = packs_of(installation, point, "cloud") | {point.name, VAULT_NAME, told}
        first = {name: versions(store, name) for name in (*needed, unneeded)}

        early = renew_locks(installation, now + 9 * DAY)
        assert early == (Renewal("cloud", 0, 0, ()),)
        later = now + 11 * DAY
        (done,) = renew_locks(installation, later)
        assert (done.records, done.missing) == (1, ())
        assert done.packs >= len(needed) - 3
        for name in needed:
            (until,) = versions(store, name)
            assert abs(until - (later + LOCK_DAYS * DAY)) < timedelta(seconds=2)
        assert versions(store, unneeded) == first[unneeded]
        assert renew_locks(installation, later + DAY) == (Renewal("cloud", 0, 0, ()),)


def test_a_new_point_relies_on_no_pack_whose_lock_is_nearly_over(tmp_path: Path, s3_server: S3Server) -> None:
    """Nobody renewed: what would be locked for less than a session lasts is sent again, and locked anew."""
    city = locked_city(tmp_path, s3_server)
    now = datetime.now(UTC)
    with city.open() as installation:
        first = back_up(installation, city, b"same", now)
        second = run_backup(installation, SYSTEM, SOURCE, now=clock(now + DAY))
        assert packs_of(installation, second, "cloud") & packs_of(installation, first, "cloud")
        late = now + (LOCK_DAYS - 1) * DAY
        third = run_backup(installation, SYSTEM, SOURCE, now=clock(late))
        assert not packs_of(installation, third, "cloud") & packs_of(installation, first, "cloud")
        lasting = lease_ns(int(late.timestamp() * 1e9), LOCK_DAYS)
        here = {copy.pack: copy for copy in installation.catalog.lifecycle.copies("cloud")}
        names = {f"v1/d/{AGENT}/{copy.kind}/{copy.pack[1:].hex()}": copy for copy in here.values()}
        assert all(names[name].locked_ns >= lasting for name in packs_of(installation, third, "cloud"))


def test_a_missing_object_is_named_and_the_rest_is_renewed(tmp_path: Path, s3_server: S3Server) -> None:
    city = locked_city(tmp_path, s3_server)
    now = datetime.now(UTC)
    short = ShortLocks(3)  # so that a thief can soon delete
    with city.open(stores=short) as installation:
        store = cloud(installation)
        point = back_up(installation, city, b"new", now - LOCK_DAYS * DAY)
        short.end()
        victim = next(name for name in sorted(packs_of(installation, point, "cloud")) if "/p/" in name)
        wait_until(lambda: _steal(store, victim), pause=0.2)
        (done,) = renew_locks(installation, now)
        assert done.missing == (victim,)
        assert done.records == 1


def _steal(store: S3Store, name: str) -> bool:
    return S3Eraser("thief", store.config).erase(name).gone


def test_renewal_is_due_once_a_day_where_anything_is_locked(tmp_path: Path, s3_server: S3Server) -> None:
    city = locked_city(tmp_path, s3_server)
    now = datetime.now(UTC)
    with city.open() as installation:
        assert renewal_is_due(installation, now)
        renew_locks(installation, now)
        assert not renewal_is_due(installation, now + timedelta(hours=23))
        assert renewal_is_due(installation, now + timedelta(hours=24))
        assert renewal_is_due(installation, now - timedelta(hours=1))  # the clock was set back
        (city.home / STAMP_FILE).write_text("damaged")
        assert renewal_is_due(installation, now)


def test_the_daemon_renews_by_itself_and_survives_a_store_that_is_away(
    tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    city = locked_city(tmp_path, s3_server)
    now = datetime.now(UTC)
    with city.open() as installation:
        point = back_up(installation, city, b"new", now)
        later = now + 11 * DAY
        with monkeypatch.context() as away:
            away.setattr(S3Store, "list", _away)
            Daemon(installation, 1, clock(later)).renew()
        assert not (city.home / STAMP_FILE).exists()
        Daemon(installation, 1, clock(later)).renew()
        assert (city.home / STAMP_FILE).exists()
        (until,) = versions(cloud(installation), point.name)
        assert abs(until - (later + LOCK_DAYS * DAY)) < timedelta(seconds=2)


def test_a_check_says_when_nobody_renews(
    tmp_path: Path, s3_server: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    city = locked_city(tmp_path, s3_server)
    words = ["--home", str(city.home), "--policies", str(city.policies), "check", "--no-agents"]
    now = datetime.now(UTC)
    with city.open() as installation:
        back_up(installation, city, b"new", now)
        for last, said in ((None, "never"), (now - 4 * DAY, "4 d ago"), (now, "")):
            if last is not None:
                note_renewal(installation, last)
            run(words)
            shown = capsys.readouterr().out
            assert ("locks were last renewed" in shown) == bool(said)
            assert said in shown


def _away(_store: S3Store, prefix: str) -> None:
    raise StoreUnavailable("made to be away", where=prefix)
