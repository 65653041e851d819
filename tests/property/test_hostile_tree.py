"""A tree made by an enemy, in any order, with any names, links and numbers: nothing is written outside the folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Generic, Self, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from drbackup.errors import DrbackupError
from drbackup.vault.read.batches import Part
from drbackup.vault.read.read_ahead import ReadAhead
from drbackup.vault.read.reader import PointReader
from drbackup.vault.tree import Entry, EntryKind, Extent
from drbackup.wire.messages import Place
from drbackup_agent.sources.base import Watch
from drbackup_agent.sources.files.restore import folder_request, restore_folder
from tests.support.doubles.tree_facts import tree_facts

EVIL = b"evil"
T = TypeVar("T")
names = st.sampled_from([b"a", b"b", b"out", b"..", b".", b"", b"\0", b"x" * 256, b"secret", b".drbackup-part-x"])
usual = st.sampled_from([b"a", b"b", b"c"])
paths = st.lists(usual, min_size=1, max_size=3).map(b"/".join) | st.lists(names, max_size=3).map(b"/".join)
targets = paths | st.sampled_from([b"..", b"../..", b"../secret", b"/", b"../kept", b"a/..", b"."])
numbers = st.sampled_from([0, 1, -1, 4, 1 << 31, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
kinds = st.sampled_from([EntryKind.DIR, EntryKind.FILE, EntryKind.SYMLINK, EntryKind.HARDLINK, EntryKind.FIFO])
plain = st.builds(Entry, paths, kinds, mode=st.sampled_from([0, 0o700, 0o4777]), target=targets, size=st.just(4))
absurd = st.builds(
    Entry,
    paths,
    st.sampled_from(list(EntryKind)),
    mode=numbers,
    uid=numbers,
    gid=numbers,
    user=st.sampled_from(["", "root", "\0", "x" * 4096]),
    mtime_ns=numbers,
    atime_ns=numbers,
    size=numbers,
    target=targets,
    device=st.tuples(numbers, numbers),
    xattrs=st.lists(st.tuples(st.sampled_from([b"user.x", b"", b"\0", b"security.x", b"trusted.x"]), st.just(b"v")))
    .map(tuple),
    holes=st.lists(st.tuples(numbers, numbers), max_size=2).map(tuple),
)  # fmt: skip


class HostileReader(PointReader):
    """Says whatever it was given. Only the tree is an enemy's: every file's content is the same."""

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = entries

    def entries(self, prefix: bytes = b"") -> Iterator[Entry]:
        return (with_content(entry) for entry in self._entries if entry.path.startswith(prefix))

    def find(self, path: bytes) -> Entry | None:
        return next((with_content(entry) for entry in self._entries if entry.path == path), None)

    def read_ahead(self, take: Callable[[Part[T], memoryview], None]) -> ReadAhead[T]:
        return OneByOne(take)  # type: ignore[return-value]


def with_content(entry: Entry) -> Entry:
    return replace(entry, extents=(Extent(Place(bytes(32), bytes(32), 0, 0, 20, len(EVIL)), 0, len(EVIL)),))


class OneByOne(Generic[T]):
    """Gives every content at once."""

    failed = False

    def __init__(self, take: Callable[[Part[T], memoryview], None]) -> None:
        self._take = take

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is at work."""

    def add(self, owner: T, extents: object) -> None:
        self._take(Part(owner, 0, 0, [(0, len(EVIL))], last=True), memoryview(EVIL))

    def drain(self) -> None:
        """Nothing is at work."""


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.lists(plain | absurd, max_size=8), st.booleans())
def test_nothing_outside_the_folder_is_touched(entries: list[Entry], replacing: bool) -> None:
    with TemporaryDirectory() as home:
        root = Path(home)
        out, kept = root / "box" / "out", root / "box" / "kept"
        out.mkdir(parents=True)
        kept.mkdir()
        (kept / "a").write_bytes(b"mine")
        (root / "secret").write_bytes(b"mine")
        (root / "secret").chmod(0o600)
        if replacing:
            os.symlink("../kept", out / "a")  # what stands in the target is no way out either
            os.symlink("../../secret", out / "b")
        os.utime(kept, ns=(1, 10**18))
        before = {path: facts for path, facts in tree_facts(root).items() if not path.startswith(b"box/out")}
        request = folder_request(str(out), "b2" * 32, replace=replacing)
        try:
            restore_folder(HostileReader(entries), request, Watch())
        except DrbackupError:
            pass
        finally:
            request.journal.unlink(missing_ok=True)
        after = {path: facts for path, facts in tree_facts(root).items() if not path.startswith(b"box/out")}
        before.pop(b"box")  # a journal lay in it for a moment
        after.pop(b"box")
        assert after == before
