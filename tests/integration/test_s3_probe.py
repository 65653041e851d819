"""The probe finds what a store keeps, and what it does not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner

from drbackup.cli.context import CliContext
from drbackup.cli.store import store as store_command
from drbackup.errors import StoreRefused, StoreUnavailable
from drbackup.stores.base import Store
from drbackup.stores.folder.store import DirectoryStore
from drbackup.stores.probe import needed_kept, probe
from drbackup.stores.s3.probe import clock_difference
from drbackup.stores.s3.store import S3Store
from tests.support.doubles.faulty_store import FaultyStore, Trouble
from tests.support.services.faulty_proxy import Fault, FaultyProxy
from tests.support.services.seaweedfs import S3Server


@pytest.mark.s3
def test_a_locked_bucket_keeps_every_promise(s3_server: S3Server) -> None:
    store = S3Store("offsite", s3_server.config(s3_server.shared_bucket(), prefix="probe", lock_days=1))
    lines = probe(store)
    assert [line for line in lines if line.kept != "yes"] == []
    assert {line.weight for line in lines} == {"needed", "lock", "signed", "useful"}
    assert all(found.name.startswith("v1/probe/") for found in store.list(""))


@pytest.mark.s3
def test_a_bucket_without_locks_lacks_only_them(s3_server: S3Server) -> None:
    store = S3Store("plain", s3_server.config(s3_server.shared_bucket(lock=False), prefix="probe"))
    lines = probe(store)
    lacking = [line for line in lines if line.kept != "yes"]
    assert {line.weight for line in lacking} == {"lock"}
    assert all("no object lock" in line.detail for line in lacking)
    assert needed_kept(lines)


def test_a_folder_keeps_what_every_vault_needs(tmp_path: Path) -> None:
    lines = probe(DirectoryStore("second", tmp_path / "store"))
    assert needed_kept(lines)
    assert {line.weight for line in lines if line.kept == "no"} == {"lock", "signed"}


class Forgetful(DirectoryStore):
    """A store that overwrites: what Ceph's versioned buckets look like from outside."""

    def put(self, name: str, data: bytes | memoryview) -> None:
        (self.path / name).unlink(missing_ok=True)
        super().put(name, data)


def test_a_store_that_overwrites_is_found_out(tmp_path: Path) -> None:
    lines = probe(Forgetful("ceph-like", tmp_path))
    assert not needed_kept(lines)
    assert "no" in {line.kept for line in lines if "create-once" in line.promise}


def test_a_store_that_flips_or_cuts_bytes_is_found_out(tmp_path: Path) -> None:
    for kind in ("flipped", "truncated"):
        trouble = Trouble("get", kind=kind, times=10**6)
        lines = probe(FaultyStore(DirectoryStore("sick", tmp_path / kind), [trouble]))
        assert not needed_kept(lines)


def test_a_store_that_can_not_be_reached_is_an_error_not_a_table(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        probe(DirectoryStore("gone", tmp_path / "not" / "mounted"))


@pytest.mark.s3
def test_the_clock_is_compared(s3_server: S3Server, make_proxy: Callable[[str], FaultyProxy]) -> None:
    store = S3Store("offsite", s3_server.config(s3_server.shared_bucket()))
    difference = clock_difference(store)
    assert difference is not None
    assert abs(difference) < 2
    proxy = make_proxy(s3_server.endpoint)
    proxy.faults.append(Fault(status=200, headers=(("Date", "Mon, 23 Nov 2020 12:00:00 GMT"),)))
    early = clock_difference(S3Store("early", s3_server.config("b", endpoint=proxy.endpoint)))
    assert early is not None
    assert early < -86_400


@pytest.mark.s3
def test_a_server_that_ignores_conditions_is_reported_and_still_read_by_hash(s3_server: S3Server) -> None:
    """What Ceph does in a versioned bucket: a second PUT is taken as a newer version."""

    def ignored(params: dict[str, object], **_rest: object) -> None:
        params.pop("IfNoneMatch", None)

    store = S3Store("ceph", s3_server.config(s3_server.shared_bucket(), prefix="ceph", lock_days=1))
    store.client.meta.events.register("provide-client-params.s3.PutObject", ignored)
    lines = probe(store)
    assert not needed_kept(lines)
    kept = {line.promise: line.kept for line in lines}
    assert kept["a name is never given other bytes (create-once)"] == "no"
    assert kept["what is laid over a locked object does not hide it"] == "yes"
    pack = b"pack" * 1000
    name = "v1/d/db1/p/" + hashlib.sha256(pack).hexdigest()
    for body in (pack, b"foreign"):
        store.put(name, body)
    assert store.get(name) == pack


@dataclass
class Policies:
    inventory: Policies | None = None
    stores: dict[str, object] = field(default_factory=dict)


@dataclass
class SmallInstallation:
    known: dict[str, Store]

    @property
    def policies(self) -> Policies:
        return Policies(inventory=Policies(stores=dict(self.known)))

    def store(self, name: str) -> Store:
        return self.known[name]


class SmallCli(CliContext):
    def __init__(self, known: dict[str, Store]) -> None:
        super().__init__(json=False)
        self.small = SmallInstallation(known)

    def installation(self) -> SmallInstallation:  # type: ignore[override]
        return self.small


def test_the_command_reports_every_store_and_fails_only_for_needed_promises(tmp_path: Path) -> None:
    good, bad = DirectoryStore("good", tmp_path / "good"), Forgetful("bad", tmp_path / "bad")
    cli = SmallCli({"good": good, "bad": bad})
    assert CliRunner().invoke(store_command, ["probe", "good"], obj=cli).exit_code == 0
    assert cli.document is not None
    json.dumps(cli.document)
    result = CliRunner().invoke(store_command, ["probe"], obj=cli)
    assert isinstance(result.exception, StoreRefused)
    assert "bad" in result.exception.message
    assert [(found["store"], found["ok"]) for found in cli.document["stores"]] == [("bad", False), ("good", True)]
    unknown = CliRunner().invoke(store_command, ["probe", "godo"], obj=cli)
    assert getattr(unknown.exception, "exit_code", 0) == 2


def test_one_store_that_is_down_does_not_hide_the_others(tmp_path: Path) -> None:
    gone, good = DirectoryStore("gone", tmp_path / "a" / "b"), DirectoryStore("good", tmp_path / "good")
    cli = SmallCli({"gone": gone, "good": good})
    result = CliRunner().invoke(store_command, ["probe"], obj=cli)
    assert isinstance(result.exception, StoreUnavailable)
    assert cli.document is not None
    assert [(found["store"], found["ok"]) for found in cli.document["stores"]] == [("gone", False), ("good", True)]


@pytest.mark.s3
def test_a_fault_while_trying_a_lock_is_a_line_not_a_crash(
    s3_server: S3Server, make_proxy: Callable[[str], FaultyProxy]
) -> None:
    proxy = make_proxy(s3_server.endpoint)
    store = S3Store("sick", s3_server.config(s3_server.shared_bucket(), prefix="sick", endpoint=proxy.endpoint))

    def break_down(params: dict[str, object], **_rest: object) -> None:
        if "ObjectLockMode" in params:
            proxy.faults.append(Fault(status=500))

    store.client.meta.events.register("provide-client-params.s3.PutObject", break_down)
    lines = {line.promise: line for line in probe(store)}
    assert lines["objects can be locked until a date"].kept == "unknown"
