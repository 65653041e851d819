"""Durable writes: whatever dies between their steps, a name gives back old bytes or new ones, whole."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drbackup.system import durable
from drbackup.system.durable import create_file, create_folder, make_folder, put_in_place, sync_folder, write_file

OLD, NEW = b"old" * 1000, b"the new bytes" * 1000
STEPS = ("open", "write", "fchmod", "fsync", "replace", "rename", "link", "unlink", "mkdir", "close")

# The child dies by SIGKILL before its system call number KILL_AT. With none left to die at it says so and ends well.
KILLED = f"""
import itertools, os, signal, sys
from pathlib import Path
from drbackup.system.durable import create_file, create_folder, write_file

target, data, count = Path(sys.argv[1]), sys.stdin.buffer.read(), itertools.count()

def deadly(call):
    def step(*arguments, **options):
        if next(count) == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)
    return step

for name in {STEPS!r}:
    setattr(os, name, deadly(getattr(os, name)))
"""
WAYS = {
    "write_file": "write_file(target, data, mode=0o644)",
    "create_file": "create_file(target, data)",
    "create_folder": "create_folder(target, {'a': data, 'b': data})",
}


def killed_before(step: int, way: str, target: Path) -> bool:
    """Whether there was such a step to die before."""
    argv = [sys.executable, "-c", KILLED + WAYS[way], str(target), str(step)]
    ended = subprocess.run(argv, input=NEW, check=False, timeout=60).returncode
    assert ended in (0, -signal.SIGKILL)
    return ended != 0


def test_a_kill_before_any_step_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    target, seen, step = tmp_path / "note", set(), 0
    target.write_bytes(OLD)
    while killed_before(step, "write_file", target):
        seen.add(target.read_bytes())
        step += 1
    assert seen == {OLD, NEW}, "there are steps before the name changes, and steps after it"
    assert target.read_bytes() == NEW
    assert step > 5, "open, write, mode, sync, name, sync: each was died before"


def test_a_kill_before_any_step_leaves_no_new_file_or_a_whole_one(tmp_path: Path) -> None:
    target, step = tmp_path / "key", 0
    while killed_before(step, "create_file", target):
        if target.exists():
            assert target.read_bytes() == NEW
            target.unlink()
        step += 1
    assert target.read_bytes() == NEW
    assert step > 4


def test_a_kill_before_any_step_leaves_no_new_folder_or_one_with_every_file(tmp_path: Path) -> None:
    step, target = 0, tmp_path / "keys-0"
    while killed_before(step, "create_folder", target):
        if target.exists():
            assert {file.name: file.read_bytes() for file in target.iterdir()} == {"a": NEW, "b": NEW}
        step += 1
        target = tmp_path / f"keys-{step}"
    assert step > 8


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the system, in order: ``fsync`` says of what."""
    asked: list[str] = []

    def told(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object, **options: object) -> object:
            if name == "fsync":
                assert isinstance(arguments[0], int)
                kind = "folder" if stat.S_ISDIR(os.fstat(arguments[0]).st_mode) else "file"
                asked.append(f"sync {kind}")
            else:
                asked.append(name)
            return call(*arguments, **options)

        return step

    for name in ("fsync", "replace", "rename", "link"):
        monkeypatch.setattr(os, name, told(name, getattr(os, name)))
    return asked


def test_bytes_are_synced_before_they_get_their_name_and_the_name_afterwards(tmp_path: Path, steps: list[str]) -> None:
    write_file(tmp_path / "note", NEW)
    assert steps == ["sync file", "replace", "sync folder"]
    steps.clear()
    create_file(tmp_path / "key", NEW)
    assert steps == ["sync file", "link", "sync folder"]
    steps.clear()
    create_folder(tmp_path / "keys", {"a": NEW, "b": NEW})
    assert steps == ["sync file", "sync file", "sync folder", "rename", "sync folder"]
    steps.clear()
    put_in_place(tmp_path / "key", tmp_path / "note")
    assert steps == ["replace", "sync folder"]


def test_a_folder_is_durable_with_all_that_were_made_above_it(tmp_path: Path, steps: list[str]) -> None:
    make_folder(tmp_path / "a" / "b" / "c")
    assert steps == ["sync folder"] * 3
    steps.clear()
    make_folder(tmp_path / "a" / "b" / "c")
    assert steps == ["sync folder"], "its maker may have died before its own sync"
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file of this process may become larger than a page: the same as a full disk, for who writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    kept = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, kept)


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "note").write_bytes(OLD)
    for write in (
        lambda: write_file(tmp_path / "note", NEW),
        lambda: create_file(tmp_path / "key", NEW),
        lambda: create_folder(tmp_path / "keys", {"a": b"small", "b": NEW}),
    ):
        with pytest.raises(OSError, match="File too large"):
            write()
    assert [file.name for file in tmp_path.iterdir()] == ["note"]
    assert (tmp_path / "note").read_bytes() == OLD


@pytest.mark.parametrize("fails_at", ["file", "folder"])
def test_a_disk_that_can_not_sync_is_an_error_never_a_silence(
    tmp_path: Path, fails_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def failing(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode) == (fails_at == "folder"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(handle)

    (tmp_path / "note").write_bytes(OLD)
    monkeypatch.setattr(os, "fsync", failing)
    for write in (
        lambda: write_file(tmp_path / "note", NEW),
        lambda: create_file(tmp_path / "key", NEW),
        lambda: create_folder(tmp_path / "keys", {"a": NEW}),
        lambda: sync_folder(tmp_path) if fails_at == "folder" else write_file(tmp_path / "note", NEW),
    ):
        with pytest.raises(OSError, match="Input/output error"):
            write()
    assert not list(tmp_path.glob(".*")), "no hidden file is left"
    assert (tmp_path / "note").read_bytes() == (OLD if fails_at == "file" else NEW)


def test_what_may_not_be_replaced_is_not(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(OLD)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "a").write_bytes(OLD)
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "key", NEW)
    with pytest.raises(OSError, match="not empty"):
        create_folder(tmp_path / "keys", {"b": NEW})
    assert (tmp_path / "key").read_bytes() == OLD
    assert sorted(str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*")) == ["key", "keys", "keys/a"]


@pytest.mark.parametrize("number", sorted(durable.NO_LINKS))
def test_where_there_are_no_hard_links_a_new_file_still_replaces_nothing(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a stick with FAT, which custodians are given."""

    def no_links(*_arguments: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", no_links)
    create_file(tmp_path / "share", NEW)
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "share", OLD)
    assert [file.name for file in tmp_path.iterdir()] == ["share"]
    assert (tmp_path / "share").read_bytes() == NEW


def test_modes_are_exact_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_file(tmp_path / "public", b"", mode=0o644)
    finally:
        os.umask(before)
    write_file(tmp_path / "private", b"")
    create_folder(tmp_path / "keys", {"a": b""})
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.rglob("*")}
    assert modes == {"public": 0o644, "private": 0o600, "keys": 0o700, "a": 0o600}


def test_two_writers_at_once_never_mix_their_bytes(tmp_path: Path) -> None:
    target, both = tmp_path / "note", (OLD * 50, NEW * 50)
    write_file(target, both[0])

    def write(data: bytes) -> None:
        for _ in range(50):
            write_file(target, data)

    writers = [threading.Thread(target=write, args=(data,)) for data in both]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert target.read_bytes() in both
    assert [file.name for file in tmp_path.iterdir()] == ["note"]


def test_in_a_folder_of_others_a_kill_leaves_one_hidden_file_at_the_most(tmp_path: Path) -> None:
    (tmp_path / ".half").write_bytes(b"left by a kill")
    write_file(tmp_path / "canary", NEW, hidden_name=".half")
    assert [file.name for file in tmp_path.iterdir()] == ["canary"]


def test_a_link_planted_under_the_hidden_name_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(OLD)
    for planted in (os.link, os.symlink):
        planted(victim, tmp_path / ".half")
        write_file(tmp_path / "canary", NEW, hidden_name=".half")
        assert victim.read_bytes() == OLD
