"""Large files are written past the page cache where that is possible, and whole wherever it is not."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest

from drbackup.stores import filesystem
from drbackup.stores.filesystem import write_beside_cache

MIB = 1 << 20


def written(folder: Path, data: bytes) -> bytes:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    file = os.open("new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=handle)
    try:
        write_beside_cache(file, "new", handle, memoryview(data))
    finally:
        os.close(file)
        os.close(handle)
    return (folder / "new").read_bytes()


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 5 * MIB + 4095, 9 * MIB])
def test_every_byte_is_there_whatever_the_size(tmp_path: Path, size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert written(tmp_path, data) == data


def test_a_filesystem_without_direct_writes_is_written_to_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no direct writes here")
        return opened(path, flags, mode, dir_fd=dir_fd)

    opened = os.open
    monkeypatch.setattr(filesystem.os, "open", refuse)
    data = random.Random(1).randbytes(3 * MIB + 5)
    assert written(tmp_path, data) == data


def test_direct_writes_that_stop_in_the_middle_are_finished_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def tire(file: int, data: bytes | memoryview) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.EINVAL, "no more")
        return wrote(file, data)

    wrote = os.write
    monkeypatch.setattr(filesystem.os, "write", tire)
    data = random.Random(2).randbytes(10 * MIB + 7)
    assert written(tmp_path, data) == data
    assert calls > 2
