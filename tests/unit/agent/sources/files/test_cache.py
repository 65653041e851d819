"""The agent's memory of unchanged files: what it may not rely on is read again."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from drbackup.vault.tree import Extent
from drbackup.vault.write.writer import Content
from drbackup.wire.messages import Place
from drbackup_agent.sources.files.cache import FileCache

LABEL = ("db1", "registry", "scans")
PACK, OTHER = b"\x01" * 32, b"\x02" * 32


@pytest.fixture
def seen(tmp_path: Path) -> os.stat_result:
    """A file that was written long ago."""
    path = tmp_path / "a"
    path.write_bytes(b"alpha")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    return path.stat()


def remembered(folder: Path, seen: os.stat_result, pack: bytes, *retired: bytes) -> bool:
    """Whether a second run may take the file's content, which lies in ``pack``, from the first one's memory."""
    begun = time.time_ns() + 60_000_000_000
    first = FileCache(folder, LABEL, b"mark", begun_ns=begun)
    content = Content(5, b"d" * 32, _extents=(Extent(Place(b"\x07" * 32, pack, 0, 0, 21, 5), 0, 5),))
    first.remember(b"srv/a", seen, (), content, ())
    first.save()
    second = FileCache(folder, LABEL, b"mark", begun_ns=begun + 1, retired=frozenset(retired))
    second.load()
    return second.find(b"srv/a", seen) is not None


def test_an_unchanged_file_is_known_by_its_places(tmp_path: Path, seen: os.stat_result) -> None:
    assert remembered(tmp_path, seen, PACK)
    assert remembered(tmp_path, seen, PACK, OTHER)


def test_a_file_with_content_in_a_retired_pack_is_read_again(tmp_path: Path, seen: os.stat_result) -> None:
    assert not remembered(tmp_path, seen, PACK, OTHER, PACK)
