"""Large files are written past the page cache where that is possible, and whole wherever it is not."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import random
from pathlib import Path

import pytest

from drbackup.stores.folder import syscalls
from drbackup.stores.folder.syscalls import hash_whole, read_range, write_beside_cache

MIB = 1 << 20


def written(folder: Path, data: bytes | memoryview) -> bytes:
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


@pytest.mark.parametrize("shift", [0, 1, 4096])
@pytest.mark.parametrize("size", [MIB, 5 * MIB + 4095])
def test_memory_on_a_page_is_written_as_it_lies_and_other_memory_just_as_well(
    tmp_path: Path, shift: int, size: int
) -> None:
    data = random.Random(size).randbytes(size)
    pages = memoryview(mmap.mmap(-1, size + shift))
    pages[shift:] = data
    assert written(tmp_path, pages[shift:]) == data


def test_a_filesystem_without_direct_writes_is_written_to_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no direct writes here")
        return opened(path, flags, mode, dir_fd=dir_fd)

    opened = os.open
    monkeypatch.setattr(syscalls.os, "open", refuse)
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
    monkeypatch.setattr(syscalls.os, "write", tire)
    data = random.Random(2).randbytes(10 * MIB + 7)
    assert written(tmp_path, data) == data
    assert calls > 2


@pytest.mark.parametrize("size", [MIB, 5 * MIB + 4095, 9 * MIB + 1, 13 * MIB])
def test_any_range_and_the_hash_are_of_exactly_these_bytes(tmp_path: Path, size: int) -> None:
    data = random.Random(size).randbytes(size)
    (tmp_path / "pack").write_bytes(data)
    file = os.open(tmp_path / "pack", os.O_RDONLY)
    try:
        for offset, length in ((0, None), (0, size), (1, MIB), (4095, size - 4095), (size - 1, 1), (size // 2, None)):
            end = size if length is None else offset + length
            if end <= size:
                assert read_range(file, offset, length, "pack") == data[offset:end]
        assert hash_whole(file) == (size, hashlib.sha256(data).digest())
    finally:
        os.close(file)


def test_reading_goes_on_plainly_where_direct_reads_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def tire(file: int, buffers: list[memoryview], offset: int) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.EINVAL, "no more")
        return read(file, buffers, offset)

    data = random.Random(3).randbytes(12 * MIB + 9)
    (tmp_path / "pack").write_bytes(data)
    read = os.preadv
    monkeypatch.setattr(syscalls.os, "preadv", tire)
    file = os.open(tmp_path / "pack", os.O_RDONLY)
    try:
        assert hash_whole(file) == (len(data), hashlib.sha256(data).digest())
        calls = 0
        assert read_range(file, 77, None, "pack") == data[77:]
    finally:
        os.close(file)
