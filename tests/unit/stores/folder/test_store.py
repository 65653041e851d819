"""What a folder store promises beyond the contract: crashes, full disks, foreign hands."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drbackup.errors import (
    DrbackupError,
    ObjectCorrupt,
    ObjectExists,
    ObjectMissing,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from drbackup.stores.folder.store import DAMAGED_PREFIX, TEMPORARY, DirectoryStore
from drbackup.stores.folder.syscalls import store_error
from drbackup.system.durable import rename_new
from tests.support.poll import PATIENCE, wait_until

BODY = b"bytes of a pack " * 4096
WRITER = """
import hashlib, sys
from drbackup.stores.folder.store import DirectoryStore
store = DirectoryStore("victim", sys.argv[1])
number = 0
while True:
    data = number.to_bytes(8, "big") * (1 << 19)  # 4 MiB
    name = "v1/d/db1/p/" + hashlib.sha256(data).hexdigest()
    store.put(name, data)
    print(name, flush=True)
    number += 1
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore("second", tmp_path / "store")


@pytest.mark.parametrize("acknowledged", [1, 3, 6])
def test_a_writer_killed_midway_leaves_whole_objects_or_none(tmp_path: Path, acknowledged: int) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    done = [writer.stdout.readline().strip() for _ in range(acknowledged)]
    folder = tmp_path / "v1/d/db1/p"
    # Strike while a file is being written, which is the moment that matters.
    wait_until(lambda: any(name.startswith(TEMPORARY) for name in names(folder)), pause=0)
    writer.send_signal(signal.SIGKILL)
    done += writer.stdout.read().split()
    assert writer.wait(PATIENCE) == -signal.SIGKILL

    store = DirectoryStore("after", tmp_path)
    found = {entry.name for entry in store.list("v1/")}
    assert set(done) <= found
    for name in found:
        assert hashlib.sha256(store.get(name)).hexdigest() == name[-64:]
    data = len(done).to_bytes(8, "big") * (1 << 19)
    store.put("v1/d/db1/p/" + hashlib.sha256(data).hexdigest(), data)  # the next run succeeds


def test_leftovers_of_a_crash_are_never_objects_and_only_old_ones_are_swept(store: DirectoryStore) -> None:
    store.put("v1/d/whole", BODY)
    old, young = (store.path / f"v1/d/{TEMPORARY}{word}" for word in ("old", "young"))
    for leftover in (old, young):
        leftover.write_bytes(BODY[:10])
    os.utime(old, (time.time() - 90_000,) * 2)
    assert [found.name for found in store.list("")] == ["v1/d/whole"]
    assert store.sweep_leftovers() == 1
    assert (old.exists(), young.exists(), (store.path / "v1/d/whole").exists()) == (False, True, True)


def test_nothing_hidden_is_left_after_success_conflict_or_retry(store: DirectoryStore) -> None:
    store.put("v1/x", BODY)
    store.put("v1/x", BODY)
    with pytest.raises(ObjectExists):
        store.put("v1/x", b"other")
    assert names(store.path / "v1") == ["x"]


def test_objects_are_read_only_files(store: DirectoryStore) -> None:
    store.put("v1/x", BODY)
    assert stat.S_IMODE((store.path / "v1/x").stat().st_mode) == 0o444
    assert (store.path / "v1/x").stat().st_nlink == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem with 2 MiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount)], check=True, timeout=PATIENCE)
    yield mount
    subprocess.run(["umount", str(mount)], check=True, timeout=PATIENCE)


@pytest.mark.root
def test_a_full_disk_is_said_to_be_full_and_loses_nothing(small_disk: Path) -> None:
    store = DirectoryStore("small", small_disk)
    store.put("v1/first", b"a" * 1_000_000)
    with pytest.raises(StoreFull, match="No space left"):
        store.put("v1/second", b"b" * 2_000_000)
    assert store.stat("v1/second") is None
    assert names(small_disk / "v1") == ["first"]  # the half-written file gave its room back
    assert store.get("v1/first") == b"a" * 1_000_000
    store.put("v1/first", b"a" * 1_000_000)  # a retry needs no room
    store.put("v1/third", b"c" * 500_000)


@pytest.mark.root
def test_a_disk_mounted_read_only_is_a_refusal(small_disk: Path) -> None:
    store = DirectoryStore("small", small_disk)
    store.put("v1/first", b"a")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True, timeout=PATIENCE)
    with pytest.raises(StoreRefused, match="Read-only"):
        store.put("v1/second", b"b")
    assert store.get("v1/first") == b"a"


def test_an_unmounted_disk_is_unavailable_not_empty(tmp_path: Path) -> None:
    store = DirectoryStore("gone", tmp_path / "mnt" / "disk" / "drbackup")
    for ask in (lambda: store.put("v1/x", b""), lambda: store.get("v1/x"), lambda: list(store.list("v1/"))):
        with pytest.raises(StoreUnavailable, match="mounted"):
            ask()
    assert not (tmp_path / "mnt").exists()


def test_symbolic_links_are_never_followed(store: DirectoryStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    store.put("v1/x", BODY)
    (store.path / "v1/link").symlink_to(outside)
    (store.path / "v1/file").symlink_to(outside / "secret")
    for ask in (
        lambda: store.put("v1/link/planted", b"x"),
        lambda: store.put("v1/file", b"x"),
        lambda: store.get("v1/link/secret"),
        lambda: store.get("v1/file"),
    ):
        with pytest.raises(StoreRefused, match="symbolic link"):
            ask()
    assert store.stat("v1/file") is None
    assert [found.name for found in store.list("v1/")] == ["v1/x"]
    assert names(outside) == ["secret"]


def test_a_planted_fifo_does_not_hang_a_reader(store: DirectoryStore) -> None:
    store.put("v1/x", BODY)
    os.mkfifo(store.path / "v1/pipe")
    with pytest.raises(ObjectMissing):
        store.get("v1/pipe")
    for data in (b"x", b""):
        with pytest.raises(ObjectExists):
            store.put("v1/pipe", data)


def test_an_object_is_no_folder_and_a_folder_no_object(store: DirectoryStore) -> None:
    store.put("v1/a/b", BODY)
    for name in ("v1/a/b/c", "v1/a"):
        with pytest.raises(ObjectExists):
            store.put(name, b"x")
        with pytest.raises(ObjectMissing):
            store.get(name)
        assert store.stat(name) is None


def test_flipped_and_truncated_objects_are_seen_on_a_whole_read(store: DirectoryStore) -> None:
    name = "v1/d/db1/p/" + hashlib.sha256(BODY).hexdigest()
    store.put(name, BODY)
    path = store.path / name
    path.chmod(0o600)
    for damaged in (BODY[:-1], BODY[:100] + b"!" + BODY[101:], b""):
        path.write_bytes(damaged)
        with pytest.raises(ObjectCorrupt, match="match its name"):
            store.get(name)
        with pytest.raises(ObjectExists):
            store.put(name, BODY)


def test_renaming_without_replacing_is_the_fallback_for_disks_without_hard_links(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_args: object, **_named: object) -> None:
        raise PermissionError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    store.put("v1/x", BODY)
    store.put("v1/x", BODY)
    with pytest.raises(ObjectExists):
        store.put("v1/x", b"other")
    assert store.get("v1/x") == BODY
    assert names(store.path / "v1") == ["x"]
    folder = os.open(store.path / "v1", os.O_RDONLY)
    (store.path / "v1/y").write_bytes(b"y")
    with pytest.raises(FileExistsError):
        rename_new("y", "x", folder)
    os.close(folder)


def test_every_new_folder_and_name_is_synced_before_success(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that makes a stored object survive a power cut, watched at the system calls."""
    seen: list[str] = []
    sync, link = os.fsync, os.link

    def watched_sync(file: int) -> None:
        seen.append("sync " + os.path.relpath(Path(f"/proc/self/fd/{file}").readlink(), store.path.parent))
        sync(file)

    def watched_link(source: str, target: str, **named: int) -> None:
        seen.append(f"link {target}")
        link(source, target, **named)

    monkeypatch.setattr(os, "fsync", watched_sync)
    monkeypatch.setattr(os, "link", watched_link)
    store.put("v1/d/x", BODY)
    steps = ["sync store/v1/d/" + TEMPORARY if TEMPORARY in step else step for step in seen]
    assert steps == [
        "sync .",
        "sync store",
        "sync store/v1",
        "sync store/v1/d/" + TEMPORARY,
        "link x",
        "sync store/v1/d",
    ]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EIO, StoreUnavailable),
        (errno.ESTALE, StoreUnavailable),
        (errno.EACCES, StoreRefused),
        (errno.EROFS, StoreRefused),
        (errno.ELOOP, StoreRefused),
    ],
)
def test_each_system_error_has_its_class(number: int, kind: type[DrbackupError]) -> None:
    found = store_error(OSError(number, os.strerror(number)), "second", "v1/x")
    assert type(found) is kind
    assert found.where == "v1/x"
    assert found.hint


def test_a_disk_that_fails_to_sync_never_lets_the_name_appear(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("v1/x", BODY)

    def broken(_file: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StoreUnavailable):
        store.put("v1/y", BODY)
    assert names(store.path / "v1") == ["x"]


def test_an_object_that_vanishes_while_listing_does_not_cut_the_list_short(store: DirectoryStore) -> None:
    for name in ("v1/a", "v1/b", "v1/c/d", "v1/e"):
        store.put(name, b"x")
    found = store.list("v1/")
    assert next(found).name == "v1/a"
    (store.path / "v1/b").unlink()
    assert [stat.name for stat in found] == ["v1/c/d", "v1/e"]


def test_folders_that_vanish_under_a_running_store_are_an_error_of_ours_and_are_made_anew(tmp_path: Path) -> None:
    store = DirectoryStore("main", tmp_path / "store")
    store.put("v1/d/db1/first", BODY)
    (tmp_path / "store").rename(tmp_path / "taken-away")
    (tmp_path / "store").mkdir()
    with pytest.raises(StoreUnavailable, match="vanished"):
        store.put("v1/d/db1/second", BODY)
    store.put("v1/d/db1/second", BODY)
    assert store.get("v1/d/db1/second") == BODY


# --- mending ----------------------------------------------------------------------------------------------------------

NAME = "v1/d/db1/p/" + hashlib.sha256(BODY).hexdigest()
MENDER = """
import os, signal, sys
from drbackup.stores.folder import store
from drbackup.stores.folder import syscalls
from drbackup.stores.folder.store import DirectoryStore

count, at = 0, int(sys.argv[2])

def fatal(real):
    def call(*arguments, **more):
        global count
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **more)
    return call

for name in ("open", "write", "fsync", "link", "replace", "unlink", "fchmod"):
    setattr(os, name, fatal(getattr(os, name)))
DirectoryStore("victim", sys.argv[1]).repair(sys.argv[3], b"bytes of a pack " * 4096)
print("done", count)
"""


def damaged(store: DirectoryStore, body: bytes) -> Path:
    store.put(NAME, BODY)
    path = store.path / NAME
    path.chmod(0o600)
    path.write_bytes(body)
    return path


def test_what_was_damaged_is_kept_as_evidence(store: DirectoryStore) -> None:
    path = damaged(store, b"damaged")
    store.repair(NAME, BODY)
    assert path.read_bytes() == BODY
    (kept,) = path.parent.glob(f"{DAMAGED_PREFIX}*")
    assert kept.read_bytes() == b"damaged"
    assert [found.name for found in store.list("")] == [NAME]
    assert store.sweep_leftovers(older_seconds=-1) == 0  # nobody's leftover


def test_a_mender_killed_at_any_system_call_leaves_the_old_bytes_or_the_new_and_the_evidence(tmp_path: Path) -> None:
    at, code = 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        at += 1
        store = DirectoryStore("second", tmp_path / str(at))
        path = damaged(store, b"damaged")
        words = [sys.executable, "-S", "-c", MENDER, str(store.path), str(at), NAME]
        code = subprocess.run(words, capture_output=True, timeout=60, check=False, env=environment()).returncode
        assert path.read_bytes() in (b"damaged", BODY), at
        assert [found.name for found in store.list("")] == [NAME]
        store.repair(NAME, BODY)  # the next one finishes it
        assert path.read_bytes() == BODY
        assert b"damaged" in [kept.read_bytes() for kept in path.parent.glob(f"{DAMAGED_PREFIX}*")]
    assert code == 0
    assert at > 8


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_a_filesystem_without_links_is_mended_by_renaming(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no links here")

    path = damaged(store, b"damaged")
    monkeypatch.setattr(os, "link", no_links)
    store.repair(NAME, BODY)
    assert path.read_bytes() == BODY
    assert [kept.read_bytes() for kept in path.parent.glob(f"{DAMAGED_PREFIX}*")] == [b"damaged"]


def test_a_disk_that_is_full_changes_nothing(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = damaged(store, b"damaged")
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreFull):
        store.repair(NAME, BODY)
    assert names(path.parent) == [path.name]
    assert path.read_bytes() == b"damaged"


def test_a_planted_link_is_no_object_and_is_mended(store: DirectoryStore, tmp_path: Path) -> None:
    path = damaged(store, b"")
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ObjectMissing):
        store.check(NAME)
    store.repair(NAME, BODY)
    assert store.check(NAME) == len(BODY)
    assert not (tmp_path / "elsewhere").exists()


def test_a_bad_sector_is_damage_of_one_object_and_no_dead_store(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad_sector(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    store.put(NAME, BODY)
    monkeypatch.setattr(os, "preadv", bad_sector)
    with pytest.raises(ObjectCorrupt, match="can't be read"):
        store.check(NAME)
