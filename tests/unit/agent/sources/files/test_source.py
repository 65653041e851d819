"""Directory trees: everything a tree can hold comes back; nothing is torn, skipped silently or written outside."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drbackup.errors import SourceUnreadable, SourceUnstable
from drbackup.vault.tree import EntryKind
from drbackup.wire.specs import Limits
from drbackup_agent.sources.base import Watch
from drbackup_agent.sources.files.cache import BATCH
from drbackup_agent.sources.files.canary import read_canary
from drbackup_agent.sources.files.spec import FilesSpec
from drbackup_agent.sources.files.walk import TOGETHER, WalkedPath, top_paths
from drbackup_agent.sources.kinds import open_source
from tests.support.doubles.source_runs import SourceRuns
from tests.support.doubles.tree_facts import tree_facts

ROOT = os.geteuid() == 0
HOLE = 1 << 20


@pytest.fixture
def runs(tmp_path: Path) -> SourceRuns:
    return SourceRuns(tmp_path / "state")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def spec(data: Path, **changed: object) -> FilesSpec:
    return FilesSpec((str(data),), **changed)  # type: ignore[arg-type]


def tree_path(data: Path, *parts: str) -> bytes:
    return os.fsencode(data.joinpath(*parts))[1:]


def round_trip(runs: SourceRuns, data: Path, out: Path) -> Path:
    runs.restore(runs.backup(spec(data)), out)
    return out / str(data)[1:]


def test_every_kind_of_thing_comes_back_as_it_was(data: Path, runs: SourceRuns, tmp_path: Path) -> None:
    (data / "sub").mkdir(mode=0o750)
    (data / "sub" / "file").write_bytes(b"x" * 100)
    (data / "sub" / "file").chmod(0o4711)
    (data / "empty").touch()
    (data / "no-access").write_bytes(b"secret")
    (data / "no-access").chmod(0 if ROOT else 0o400)
    (data / "link").symlink_to("sub/file")
    (data / "dangling").symlink_to("../nowhere/at all")
    os.link(data / "sub" / "file", data / "second")
    os.link(data / "sub" / "file", data / "zz-third")
    os.mkfifo(data / "pipe", 0o640)
    os.setxattr(data / "empty", "user.note", "签".encode())
    os.utime(data / "empty", ns=(1_000_000_007, 1_234_567_891))
    os.utime(data / "sub", ns=(5, 86_400_000_000_001))
    os.utime(data / "dangling", ns=(7, 9_000_000_001), follow_symlinks=False)
    subprocess.run(["setfacl", "-m", "u:1234:rx,g:77:r", str(data / "sub" / "file")], check=True)
    subprocess.run(["setfacl", "-d", "-m", "u:99:rwx", str(data / "sub")], check=True)
    before = tree_facts(data)
    assert tree_facts(round_trip(runs, data, tmp_path / "out")) == before


@pytest.mark.root
def test_owners_and_devices_come_back_for_root(data: Path, runs: SourceRuns, tmp_path: Path) -> None:
    (data / "theirs").write_bytes(b"1")
    os.chown(data / "theirs", 12345, 54321)
    os.chmod(data / "theirs", 0o6755)
    os.mknod(data / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(data / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 200))
    before = tree_facts(data)
    assert tree_facts(round_trip(runs, data, tmp_path / "out")) == before


def test_holes_stay_holes(data: Path, runs: SourceRuns, tmp_path: Path) -> None:
    for name, pieces in {"middle": (0, 3), "end": (0,), "start": (4,), "none": ()}.items():
        with (data / name).open("wb") as file:
            for piece in pieces:
                os.pwrite(file.fileno(), os.urandom(HOLE), piece * HOLE)
            file.truncate(6 * HOLE + 17)
    run = runs.backup(spec(data))
    assert run.written.content_bytes == 4 * HOLE
    runs.restore(run, tmp_path / "out")
    restored = tmp_path / "out" / str(data)[1:]
    assert tree_facts(restored) == tree_facts(data)
    for name in ("middle", "end", "start", "none"):
        assert (restored / name).stat().st_blocks <= (data / name).stat().st_blocks + 8


NAMES = (
    st.binary(min_size=1, max_size=40)
    .filter(lambda name: b"/" not in name and b"\0" not in name)
    .filter(lambda name: name not in (b".", b".."))
)
TREES = st.recursive(
    st.binary(max_size=64), lambda inside: st.dictionaries(NAMES, inside, max_size=5), max_leaves=12
).filter(lambda tree: isinstance(tree, dict))


def _plant(folder: bytes, tree: dict[bytes, object]) -> None:
    for name, inside in tree.items():
        path = os.path.join(folder, name)
        if isinstance(inside, dict):
            os.mkdir(path)
            _plant(path, inside)
        else:
            assert isinstance(inside, bytes)
            with open(path, "wb") as file:
                file.write(inside)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES)
def test_any_bytes_are_names(tree: dict[bytes, object], tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("names")
    (place / "data").mkdir()
    _plant(os.fsencode(place / "data"), tree)
    before = tree_facts(place / "data")
    restored = round_trip(SourceRuns(place / "state"), place / "data", place / "out")
    assert tree_facts(restored) == before


def test_a_socket_is_noted_and_its_name_is_kept(data: Path, runs: SourceRuns, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(data, os.O_PATH)
        server.bind(f"/proc/self/fd/{here}/sock")
        os.close(here)
        run = runs.backup(spec(data))
    assert run.entries[tree_path(data, "sock")].kind == EntryKind.SOCKET
    assert any("socket" in note for note in run.facts.notes)
    runs.restore(run, tmp_path / "out")
    assert stat.S_ISSOCK((tmp_path / "out" / str(data)[1:] / "sock").lstat().st_mode)


def test_exclusions_match_names_and_whole_paths(data: Path, runs: SourceRuns) -> None:
    for name in ("a.tmp", "keep", "cache/x", "sub/cache/y", "sub/b.tmp"):
        (data / name).parent.mkdir(exist_ok=True, parents=True)
        (data / name).write_text(name)
    run = runs.backup(spec(data, exclude=("*.tmp", f"{data}/cache")))
    kept = {path[len(tree_path(data)) + 1 :] for path in run.entries if path.startswith(tree_path(data) + b"/")}
    assert kept == {b"keep", b"sub", b"sub/cache", b"sub/cache/y"}


@pytest.mark.root
def test_another_filesystem_is_not_entered_when_told_so(data: Path, runs: SourceRuns) -> None:
    (data / "mount").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(data / "mount")], check=True)
    try:
        (data / "mount" / "inside").write_text("x")
        (data / "outside").write_text("x")
        run = runs.backup(spec(data, one_filesystem=True))
    finally:
        subprocess.run(["umount", str(data / "mount")], check=True)
    assert tree_path(data, "mount") in run.entries
    assert tree_path(data, "mount", "inside") not in run.entries
    assert any("another filesystem" in note for note in run.facts.notes)


def test_paths_inside_others_are_copied_once_and_in_order(data: Path, runs: SourceRuns) -> None:
    for name in ("a", "a.b", "a-b"):
        (data / name).mkdir()
        (data / name / "f").write_text(name)
    run = runs.backup(FilesSpec((str(data / "a.b"), str(data / "a"), str(data / "a" / "f"), str(data / "a-b"))))
    assert sum(entry.kind == EntryKind.FILE for entry in run.entries.values()) == 3


def test_a_path_over_a_symbolic_link_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(data)
    with pytest.raises(SourceUnreadable, match="symbolic link"):
        top_paths([str(tmp_path / "link")])
    with pytest.raises(SourceUnreadable, match="absolute"):
        top_paths(["relative/path"])


# --- unchanged files ---------------------------------------------------------------------------------------------


def later(runs: SourceRuns, seconds: int) -> None:
    """Let the agent's clock run ahead: files written a moment ago become old."""
    clock = runs.clock_ns
    runs.clock_ns = lambda: clock() + seconds * 10**9


def test_unchanged_files_are_never_opened(data: Path, runs: SourceRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "small").write_bytes(b"s" * 10)
    (data / "big").write_bytes(os.urandom(400_000))
    later(runs, 60)
    first = runs.backup(spec(data))
    from drbackup_agent.sources.files import source

    def forbidden(*_: object) -> None:
        raise AssertionError("an unchanged file was opened")

    monkeypatch.setattr(source, "read_file", forbidden)
    second = runs.backup(spec(data))
    assert second.written.root[-8:] == first.written.root[-8:] or second.entries == first.entries
    third = runs.backup(spec(data))
    assert b"".join(third.reader.content(third.entries[tree_path(data, "big")])) == (data / "big").read_bytes()


def test_a_change_before_thousands_of_unchanged_files_is_backed_up(data: Path, runs: SourceRuns) -> None:
    for number in range(2 * BATCH + 10):
        (data / f"f{number:05d}").write_bytes(b"%d" % number)
    later(runs, 60)
    runs.backup(spec(data))
    (data / "f00000").write_bytes(b"changed")
    run = runs.backup(spec(data))  # its content has no place yet when those behind it, kept, already have theirs
    assert run.written.new_bytes == len(b"changed")
    assert b"".join(run.reader.content(run.entries[tree_path(data, "f00000")])) == b"changed"


@pytest.mark.parametrize("harm", ["lost", "cut", "flipped", "empty"])
def test_a_damaged_cache_only_costs_a_read(data: Path, runs: SourceRuns, harm: str) -> None:
    (data / "f").write_bytes(b"content")
    later(runs, 60)
    runs.backup(spec(data))
    (cache,) = (runs.state / "cache").iterdir()
    whole = cache.read_bytes()
    match harm:
        case "lost":
            cache.unlink()
        case "cut":
            cache.write_bytes(whole[: len(whole) // 2])
        case "flipped":
            cache.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
        case "empty":
            cache.write_bytes(b"")
    run = runs.backup(spec(data))
    assert b"".join(run.reader.content(run.entries[tree_path(data, "f")])) == b"content"


@contextlib.contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """This process can write no file beyond that size: the nearest thing to a full disk that needs no root."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("batches", [1, 6], ids=["at the end", "while rows are gathered"])
def test_a_full_disk_under_the_cache_costs_no_more_than_the_cache(data: Path, runs: SourceRuns, batches: int) -> None:
    for number in range(batches * BATCH + 10):
        (data / f"f{number:05d}").write_bytes(b"%d" % number)
    later(runs, 60)
    runs.backup(spec(data))
    before = {path.name: path.read_bytes() for path in (runs.state / "cache").iterdir()}
    source = open_source(spec(data), runs.context())
    with no_file_beyond(100_000):
        source.pin()
        with runs.vault.writer() as writer:
            source.copy(writer, Watch())
            written = writer.finish()
        with pytest.raises(OSError, match="too large"):
            source.remember()
        source.close()
    assert written.files == batches * BATCH + 10
    assert {path.name: path.read_bytes() for path in (runs.state / "cache").iterdir()} == before


def test_a_cache_of_another_vault_is_not_believed(data: Path, runs: SourceRuns) -> None:
    (data / "f").write_bytes(b"content")
    later(runs, 60)
    runs.backup(spec(data))
    other = SourceRuns(runs.state, clock_ns=runs.clock_ns)
    run = other.backup(spec(data), mark=b"another")
    assert b"".join(run.reader.content(run.entries[tree_path(data, "f")])) == b"content"


def test_a_file_changed_without_a_trace_in_its_times_right_after_a_run_is_read_again(
    data: Path, runs: SourceRuns
) -> None:
    """Same size and mtime, written within the run's own seconds: only the distrust of fresh files sees it."""
    (data / "f").write_bytes(b"one")
    runs.backup(spec(data))
    before = (data / "f").stat()
    (data / "f").write_bytes(b"two")
    os.utime(data / "f", ns=(before.st_atime_ns, before.st_mtime_ns))
    run = runs.backup(spec(data))
    assert b"".join(run.reader.content(run.entries[tree_path(data, "f")])) == b"two"


# --- files that move -----------------------------------------------------------------------------------------------


WRITER = """
import os, sys, time
path = sys.argv[1]
handle = os.open(path, os.O_RDWR)
size = os.fstat(handle).st_size
number = 0
while True:
    number += 1
    for offset in range(0, size, 65536):
        os.pwrite(handle, bytes([number % 256]) * 4096, offset)
    if number == 1:
        print("writing", flush=True)
"""


def test_a_file_that_never_stands_still_fails_the_run_and_is_named(data: Path, runs: SourceRuns) -> None:
    (data / "busy").write_bytes(bytes(32 << 20))  # longer to read than a busy machine keeps the writer waiting
    runs.limits = Limits(read_retries=1)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(data / "busy")], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        try:
            with pytest.raises(SourceUnstable, match="busy"):
                runs.backup(spec(data))
        finally:
            writer.kill()


def test_a_file_that_comes_to_rest_is_read_again_and_whole(
    data: Path, runs: SourceRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "busy").write_bytes(bytes(300_000))
    runs.limits = Limits(read_retries=20)
    stop = threading.Event()

    def scribble() -> None:
        with (data / "busy").open("r+b", buffering=0) as file:
            number = 0
            while not stop.is_set():
                number += 1
                for offset in range(0, 300_000, 30_000):
                    os.pwrite(file.fileno(), bytes([number % 256]) * 30_000, offset)

    thread = threading.Thread(target=scribble)
    told = Watch.retry

    def comes_to_rest(watch: Watch, path: str) -> None:
        stop.set()
        told(watch, path)

    monkeypatch.setattr(Watch, "retry", comes_to_rest)
    thread.start()
    run = runs.backup(spec(data))
    thread.join()
    assert b"".join(run.reader.content(run.entries[tree_path(data, "busy")])) == (data / "busy").read_bytes()
    assert run.watch.retried
    assert run.written.content_bytes == 300_000  # what was read in vain does not count


def test_an_inode_that_is_another_file_by_now_is_no_link_to_the_first(
    data: Path, runs: SourceRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = data / "later"  # looked at after the first was read
    later.mkdir()
    (data / "a").write_bytes(b"the first file")
    os.link(data / "a", later / "y")
    os.link(data / "a", later / "z")
    from drbackup_agent.sources.files import source

    read = source.read_file

    def read_and_reuse(*arguments: object) -> object:
        reading = read(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(source, "read_file", read)
        (later / "z").write_bytes(b"another one, under the same inode number")
        return reading

    monkeypatch.setattr(source, "read_file", read_and_reuse)
    run = runs.backup(spec(data))
    kinds = {path[-1:]: entry.kind for path, entry in run.entries.items() if entry.kind != EntryKind.DIR}
    assert kinds[b"a"] == kinds[b"y"] == EntryKind.FILE
    y = run.entries[tree_path(data, "later/y")]
    assert b"".join(run.reader.content(y)) == b"another one, under the same inode number"
    assert run.entries[tree_path(data, "later/z")].target == tree_path(data, "later/y")


def test_files_that_vanish_are_noted_and_skipped(data: Path, runs: SourceRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        (data / name).write_text(name)
    from drbackup_agent.sources.files import source

    real = source.open_ahead

    def opened(found: WalkedPath) -> None:
        (data / "b").unlink(missing_ok=True)
        real(found)

    monkeypatch.setattr(source, "open_ahead", opened)
    run = runs.backup(spec(data))
    assert {path[-1:] for path, entry in run.entries.items() if entry.kind == EntryKind.FILE} == {b"a", b"c"}
    assert any("vanished" in note for note in run.facts.notes)


def test_a_run_leaves_no_handle_behind_whether_it_ends_well_or_in_the_middle_of_a_folder(
    data: Path, runs: SourceRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    from drbackup_agent.sources.files import source

    for number in range(2 * TOGETHER + 3):
        (data / f"{number:04}").write_text(f"{number}")
    before = psutil.Process().num_fds()
    run = runs.backup(spec(data))
    assert sum(entry.kind == EntryKind.FILE for entry in run.entries.values()) == 2 * TOGETHER + 3
    assert psutil.Process().num_fds() == before
    real = source.read_file

    def read(found: WalkedPath, *rest: object) -> object:
        if found.name == b"%04d" % (TOGETHER + 2):
            assert psutil.Process().num_fds() > before + TOGETHER // 2, "nothing is opened ahead any more"
            raise SourceUnstable("it never stood still")
        return real(found, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(source, "read_file", read)
    for number in range(2 * TOGETHER + 3):
        (data / f"{number:04}").write_text("other bytes")
    with pytest.raises(SourceUnstable):
        runs.backup(spec(data))
    assert psutil.Process().num_fds() == before


def test_a_missing_top_path_fails_the_run(data: Path, runs: SourceRuns) -> None:
    with pytest.raises(SourceUnreadable, match="No such file"):
        runs.backup(FilesSpec((str(data), str(data.parent / "gone"))))


@pytest.mark.root
def test_an_unreadable_file_fails_the_run_and_is_named(data: Path, runs: SourceRuns, tmp_path: Path) -> None:
    """As an account without rights: root reads everything."""
    (data / "readable").write_text("x")
    (data / "locked").write_text("x")
    (data / "locked").chmod(0)
    code = f"""
import os, pathlib
from drbackup.errors import SourceUnreadable
from drbackup_agent.sources.files.spec import FilesSpec
from tests.support.doubles.source_runs import SourceRuns
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    SourceRuns(pathlib.Path({str(tmp_path / "open" / "state")!r})).backup(FilesSpec(({str(data)!r},)))
except SourceUnreadable as error:
    print(error.where)
"""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    shared = Path(tempfile.gettempdir())
    for folder in (tmp_path, *(parent for parent in tmp_path.parents if shared in parent.parents)):
        folder.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == str(data / "locked"), done.stderr


def test_a_cancelled_run_stops(data: Path, runs: SourceRuns) -> None:
    from drbackup.errors import Interrupted
    from drbackup_agent.sources.files.walk import Walk

    (data / "f").write_text("x")
    with pytest.raises(Interrupted):
        list(Walk([os.fsencode(data)[1:]], None, one_filesystem=False, watch=Watch(lambda: True)))


# --- canary ----------------------------------------------------------------------------------------------------------


def test_the_canary_comes_back_with_the_instant_of_the_run(data: Path, runs: SourceRuns, tmp_path: Path) -> None:
    (data / "f").write_text("x")
    run = runs.backup(spec(data, canary=True))
    runs.restore(run, tmp_path / "out")
    restored = tmp_path / "out" / str(data)[1:] / ".drbackup-canary.json"
    assert read_canary(str(restored)) == run.facts.canary_ns > 0
    assert run.substance.items == 1  # the canary is not data


def test_a_file_that_is_not_our_canary_is_left_alone(data: Path, runs: SourceRuns) -> None:
    (data / ".drbackup-canary.json").write_text("mine")
    run = runs.backup(spec(data, canary=True))
    assert (data / ".drbackup-canary.json").read_text() == "mine"
    assert run.facts.canary_ns == 0
    assert any("canary" in note for note in run.facts.notes)
