"""Restoring below a folder: never outside it, never over what is there, whole or not at all, and resumable."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec.structs import replace

from drbackup.errors import (
    DrbackupError,
    PathEscape,
    PointMissing,
    RestoreMismatch,
    TargetFull,
    TargetOccupied,
    UsageError,
)
from drbackup.vault.read.batches import Part
from drbackup.vault.read.read_ahead import ReadAhead
from drbackup.vault.read.reader import PointReader
from drbackup.vault.tree import Entry, EntryKind, Extent
from drbackup.wire.specs import FolderTarget, InPlaceTarget
from drbackup_agent.sources.base import Watch
from drbackup_agent.sources.files.restore import folder_request, restore_folder
from drbackup_agent.sources.files.restore_facts import apply_facts
from drbackup_agent.sources.files.spec import FilesSpec
from tests.support.cities.small_vault import SmallVault
from tests.support.doubles.source_runs import Run, SourceRuns
from tests.support.doubles.tree_facts import tree_facts

POINT = "b2" * 32
T = TypeVar("T")


@pytest.fixture
def runs(tmp_path: Path) -> SourceRuns:
    return SourceRuns(tmp_path / "state")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "city" / "data"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "sub" / "deep" / "a").write_bytes(b"a" * 300_000)
    (folder / "sub" / "b").write_bytes(b"b")
    (folder / "z").write_bytes(b"z" * 10)
    os.link(folder / "sub" / "b", folder / "y")
    (folder / "sub").chmod(0o711)
    os.utime(folder / "sub", ns=(1, 10**18))
    return folder


@pytest.fixture
def run(runs: SourceRuns, data: Path) -> Run:
    return runs.backup(FilesSpec((str(data),)))


def crafted(*entries: Entry) -> PointReader:
    """A point whose tree was written by hand. The writer keeps the order, nothing else."""
    vault = SmallVault()
    with vault.writer() as writer:
        for entry in entries:
            writer.add(entry, writer.small(b"evil") if entry.kind == EntryKind.FILE else None)
        return vault.reader(writer.finish().root)


def restore(reader: PointReader, out: Path, **changed: object) -> None:
    restore_folder(reader, folder_request(str(out), POINT, **changed), Watch())  # type: ignore[arg-type]


# --- never outside -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [b"../evil", b"/evil", b"a/../../evil", b"..", b".", b"", b"a//b", b"a/", b"a/./b", b"x\0y", b"n" * 256]
)
@pytest.mark.parametrize("kind", [EntryKind.FILE, EntryKind.DIR, EntryKind.SYMLINK, EntryKind.FIFO])
def test_a_name_that_leads_outside_is_refused(path: bytes, kind: EntryKind, tmp_path: Path) -> None:
    with pytest.raises(PathEscape):
        restore(crafted(Entry(path, kind, 0o644, target=b"t")), tmp_path / "jail" / "out")
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "jail" / "evil").exists()


def test_nothing_is_written_through_a_link_that_the_tree_made(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    link = Entry(b"a", EntryKind.SYMLINK, 0o777, target=os.fsencode(tmp_path / "outside"))
    for below in (Entry(b"a/evil", EntryKind.FILE, 0o644), Entry(b"a/evil/x", EntryKind.FIFO, 0o644)):
        out = tmp_path / f"out{below.kind}"
        with pytest.raises(PathEscape):
            restore(crafted(link, below), out)
        assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("replacing", [False, True])
def test_nothing_is_written_through_a_link_that_stands_in_the_target(tmp_path: Path, replacing: bool) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path / "outside")
    reader = crafted(Entry(b"a", EntryKind.DIR, 0o755), Entry(b"a/f", EntryKind.FILE, 0o644))
    if replacing:
        restore(reader, tmp_path / "out", replace=True)
        assert (tmp_path / "out" / "a" / "f").read_bytes() == b"evil"
        assert not (tmp_path / "out" / "a").is_symlink()
    else:
        with pytest.raises(TargetOccupied):
            restore(reader, tmp_path / "out")
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_mode_is_not_given_to_what_a_link_leads_to(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"s")
    secret.chmod(0o600)
    (tmp_path / "pipe").symlink_to(secret)  # somebody was quicker: the fifo just made is a link by now
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match=r"not supported|Too many levels"):
            apply_facts((folder, b"pipe"), Entry(b"pipe", EntryKind.FIFO, 0o666), Watch())
    finally:
        os.close(folder)
    assert secret.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("target", [b"../../secret", b"/etc/passwd", b"never/there", b""])
def test_a_hard_link_can_only_lead_to_what_was_restored(tmp_path: Path, target: bytes) -> None:
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(PathEscape):
        restore(crafted(Entry(b"h", EntryKind.HARDLINK, 0o644, target=target)), tmp_path / "jail" / "out")


def test_a_hard_link_to_a_link_does_not_follow_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    link = Entry(b"a", EntryKind.SYMLINK, 0o777, target=os.fsencode(tmp_path / "secret"))
    with pytest.raises(PathEscape):
        restore(crafted(link, Entry(b"b", EntryKind.HARDLINK, 0o644, target=b"a")), tmp_path / "out")


@pytest.mark.parametrize("holes", [((-1, 5),), ((0, 100),), ((2, 1), (1, 1)), ((0, -4),)])
def test_a_senseless_map_of_holes_is_refused(tmp_path: Path, holes: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(RestoreMismatch):
        restore(crafted(Entry(b"f", EntryKind.FILE, 0o644, size=10, holes=holes)), tmp_path / "out")
    assert not (tmp_path / "out" / "f").exists()


def test_content_that_does_not_make_the_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RestoreMismatch):
        restore(crafted(Entry(b"f", EntryKind.FILE, 0o644, size=1000)), tmp_path / "out")


# --- parts, other places, what is there ------------------------------------------------------------------------------


def test_one_file_comes_with_the_folders_above_it_and_nothing_else(run: Run, runs: SourceRuns, data: Path) -> None:
    out = data.parents[1] / "out"
    runs.restore(run, out, paths=(os.fsencode(data / "sub" / "b"),))
    restored = out / str(data)[1:]
    assert sorted(os.listdir(restored)) == ["sub"]
    assert os.listdir(restored / "sub") == ["b"]
    assert (restored / "sub").stat().st_mode == (data / "sub").stat().st_mode
    assert (restored / "sub").stat().st_mtime_ns == 10**18


def test_a_subtree_can_be_put_at_the_folder_itself(run: Run, runs: SourceRuns, data: Path) -> None:
    out = data.parents[1] / "out"
    where = FolderTarget(str(out), strip=str(data / "sub"))
    runs.restore(run, where, paths=(os.fsencode(data / "sub")[1:],))
    assert tree_facts(out)[b"deep/a"] == tree_facts(data / "sub")[b"deep/a"]
    with pytest.raises(UsageError):
        runs.restore(run, FolderTarget(str(out) + "2", strip=str(data / "sub")))


def test_a_hard_link_without_its_first_name_brings_the_content(run: Run, runs: SourceRuns, data: Path) -> None:
    out = data.parents[1] / "out"
    runs.restore(run, out, paths=(os.fsencode(data / "y"),))
    assert (out / str(data / "y")[1:]).read_bytes() == b"b"


def test_what_is_not_in_the_point_is_said(run: Run, runs: SourceRuns, tmp_path: Path) -> None:
    with pytest.raises(PointMissing):
        runs.restore(run, tmp_path / "out", paths=(b"no/such/thing",))


def test_replace_brings_the_old_content_back_and_leaves_other_files(run: Run, runs: SourceRuns, data: Path) -> None:
    before = tree_facts(data)
    (data / "z").write_text("ransom")
    (data / "sub" / "b").unlink()
    (data / "new").write_text("made since")
    spec = FilesSpec((str(data),))
    with pytest.raises(TargetOccupied):
        runs.restore(run, InPlaceTarget(spec))
    assert (data / "z").read_text() == "ransom"
    above = data.parent.stat().st_mtime_ns
    runs.restore(run, InPlaceTarget(spec), replace=True)
    after = tree_facts(data)
    assert after.pop(b"new")[4] == b"made since"
    assert after == before
    assert data.parent.stat().st_mtime_ns == above


def test_a_folder_is_never_removed_to_make_way_for_a_file(run: Run, runs: SourceRuns, data: Path) -> None:
    (data / "z").unlink()
    (data / "z").mkdir()
    (data / "z" / "precious").write_text("x")
    with pytest.raises(TargetOccupied):
        runs.restore(run, InPlaceTarget(FilesSpec((str(data),))), replace=True)
    assert (data / "z" / "precious").read_text() == "x"


def test_a_default_acl_of_the_target_does_not_leak_into_restored_files(run: Run, runs: SourceRuns, data: Path) -> None:
    out = data.parents[1] / "out"
    out.mkdir()
    subprocess.run(["setfacl", "-d", "-m", "u:4321:rwx", str(out)], check=True)
    runs.restore(run, out)
    assert tree_facts(out / str(data)[1:]) == tree_facts(data)


# --- interrupted ------------------------------------------------------------------------------------------------------


class CutOff(PointReader):
    """A reader whose line is cut after some contents."""

    def read_ahead(self, take: Callable[[Part[T], memoryview], None]) -> ReadAhead[T]:
        ahead, left = super().read_ahead(take), iter(range(2))

        def add(owner: T, extents: Sequence[Extent]) -> None:
            if next(left, None) is None:
                raise DrbackupError("the line was cut")
            ReadAhead.add(ahead, owner, extents)

        ahead.add = add  # type: ignore[method-assign]
        return ahead


def test_a_repeated_restore_fetches_only_what_is_missing(run: Run, runs: SourceRuns, data: Path) -> None:
    out = data.parents[1] / "out"
    request = folder_request(str(out), POINT)
    run.reader.__class__ = CutOff
    with pytest.raises(DrbackupError, match="cut"):
        restore_folder(run.reader, request, Watch())
    assert request.journal.exists()
    run.reader.__class__ = PointReader
    result = restore_folder(run.reader, request, Watch())
    assert result.skipped == 2
    assert not request.journal.exists()
    assert tree_facts(out / str(data)[1:]) == tree_facts(data)


def test_a_finished_file_that_was_changed_since_is_restored_again(run: Run, data: Path) -> None:
    out = data.parents[1] / "out"
    request = folder_request(str(out), POINT)
    run.reader.__class__ = CutOff
    with pytest.raises(DrbackupError, match="cut"):
        restore_folder(run.reader, request, Watch())
    run.reader.__class__ = PointReader
    restored = out / str(data / "sub" / "b")[1:]
    facts = restored.stat()
    restored.write_bytes(b"B")
    os.utime(restored, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # same size, same time, same inode
    restore_folder(run.reader, request, Watch())
    assert tree_facts(out / str(data)[1:]) == tree_facts(data)


def test_what_somebody_put_there_since_is_not_overwritten_by_going_on(run: Run, data: Path) -> None:
    out = data.parents[1] / "out"
    request = folder_request(str(out), POINT)
    run.reader.__class__ = CutOff
    with pytest.raises(DrbackupError, match="cut"):
        restore_folder(run.reader, request, Watch())
    run.reader.__class__ = PointReader
    theirs = out / str(data / "z")[1:]
    theirs.write_bytes(b"written by the service that was started again")
    with pytest.raises(TargetOccupied, match="broke off"):
        restore_folder(run.reader, request, Watch())
    assert theirs.read_bytes() == b"written by the service that was started again"
    restore_folder(run.reader, folder_request(str(out), POINT, replace=True), Watch())
    assert tree_facts(out / str(data)[1:]) == tree_facts(data)


def test_a_journal_of_another_point_is_not_trusted(run: Run, tmp_path: Path, data: Path) -> None:
    out = data.parents[1] / "out"
    out.mkdir()
    (out / "mine").write_text("x")
    request = folder_request(str(out), POINT)
    request.journal.write_bytes(b"drbackup-restore-1 " + b"c3" * 32 + b" " + os.fsencode(out) + b"\n")
    with pytest.raises(TargetOccupied):
        restore_folder(run.reader, request, Watch())


@pytest.mark.root
def test_a_full_disk_is_said_and_the_same_command_finishes_once_there_is_room(runs: SourceRuns, tmp_path: Path) -> None:
    data, small = tmp_path / "data", tmp_path / "small"
    data.mkdir()
    small.mkdir()
    for number in range(8):
        (data / f"file{number}").write_bytes(os.urandom(300_000))
    run = runs.backup(FilesSpec((str(data),)))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)], check=True)
    try:
        with pytest.raises(TargetFull, match="no room"):
            runs.restore(run, small / "out")
        whole = [path for path in (small / "out").rglob("file*") if path.is_file()]
        assert whole
        assert all(path.read_bytes() == (data / path.name).read_bytes() for path in whole)
        subprocess.run(["mount", "-o", "remount,size=8m", str(small)], check=True)
        result = runs.restore(run, small / "out")
        assert result.skipped == len(whole)
        assert tree_facts(small / "out" / str(data)[1:]) == tree_facts(data)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_flipped_digest_gives_no_file(run: Run, tmp_path: Path) -> None:
    class Wrong(PointReader):
        def entries(self, prefix: bytes = b"") -> Iterator[Entry]:
            for entry in super().entries(prefix):
                yield replace(entry, digest=bytes(32)) if entry.digest else entry

    run.reader.__class__ = Wrong
    with pytest.raises(RestoreMismatch):
        restore(run.reader, tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
