"""The check ``files``: every entry of the tree is in the restored folder as the tree says, and nothing else is."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from blake3 import blake3

from drbackup.vault.tree import Entry, EntryKind
from drbackup.wire.messages import Measured
from drbackup.wire.specs import CheckSpec
from drbackup_agent.drill.checks.base import MOST_WRONG, Copies, path_digest
from drbackup_agent.sources.restored import Refuted

_BLOCK = 1 << 20


def measure_files(check: CheckSpec, copies: Copies) -> Measured:
    """The numbers of files and bytes that are right, and digests of the paths of up to ten that differ.

    Raises :class:`Refuted` for a copy that is no folder.
    """
    copy = copies[check.source]
    if copy.folder is None:
        raise Refuted("files is for directory trees; use counts: match")
    expected: set[bytes] = set()
    files = size = good_files = good_size = entries = 0
    wrong: list[str] = []
    for entry in copy.reader.entries():
        entries += 1
        expected.add(entry.path)
        is_file = entry.kind in {EntryKind.FILE, EntryKind.HARDLINK}
        files, size = files + is_file, size + (entry.size if entry.kind is EntryKind.FILE else 0)
        if difference := _difference(copy.folder, entry):
            wrong.append(f"{path_digest(entry.path)}: {difference}")
            continue
        good_files, good_size = good_files + is_file, good_size + (entry.size if entry.kind is EntryKind.FILE else 0)
    extra = _extra(copy.folder, expected)
    wrong.extend(f"{path_digest(path)}: not in the point" for path in extra)
    return Measured(
        check.number,
        value=f"{good_files} files, {good_size} bytes",
        expected=f"{files} files, {size} bytes",
        compared=entries,
        wrong=tuple(wrong[:MOST_WRONG]),
    )


_KINDS: dict[EntryKind, Callable[[int], bool]] = {
    EntryKind.FILE: stat.S_ISREG,
    EntryKind.HARDLINK: stat.S_ISREG,
    EntryKind.DIR: stat.S_ISDIR,
    EntryKind.SYMLINK: stat.S_ISLNK,
    EntryKind.FIFO: stat.S_ISFIFO,
    EntryKind.CHAR: stat.S_ISCHR,
    EntryKind.BLOCK: stat.S_ISBLK,
    EntryKind.SOCKET: stat.S_ISSOCK,
}


def _difference(folder: Path, entry: Entry) -> str:
    """What is wrong with one restored entry; empty when nothing is wrong."""
    path = os.path.join(os.fsencode(folder), entry.path)
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        # A socket is an address, not data: no restore makes one. Device nodes need root.
        skipped = {EntryKind.SOCKET} | (set() if os.geteuid() == 0 else {EntryKind.CHAR, EntryKind.BLOCK})
        return "" if entry.kind in skipped else "missing"
    if not _KINDS[entry.kind](found.st_mode):
        return "of another kind"
    if entry.kind is EntryKind.SYMLINK:
        return "" if os.readlink(path) == entry.target else "points elsewhere"  # noqa: PTH115 - bytes, not text
    if entry.kind is not EntryKind.FILE:
        return ""
    if found.st_size != entry.size:
        return f"{found.st_size} bytes, not {entry.size}"
    return "" if not entry.digest or _content_digest(path, entry) == entry.digest else "another digest"


def _content_digest(path: bytes, entry: Entry) -> bytes:
    """BLAKE3 (32 bytes) of the file without the tree's holes, as in the tree.

    Empty when the file ends early or a hole holds data other than zeros: both are differences.
    """
    hasher = blake3()
    with open(path, "rb", buffering=0) as file:
        position = 0
        for offset, length in (*entry.holes, (entry.size, 0)):
            while position < offset:
                block = file.read(min(_BLOCK, offset - position))
                if not block:
                    return b""
                hasher.update(block)
                position += len(block)
            if not _is_zero(file.fileno(), offset, length):
                return b""
            position = offset + length
            file.seek(position)
    digest: bytes = hasher.digest()
    return digest


def _is_zero(handle: int, offset: int, length: int) -> bool:
    while length > 0:
        block = os.pread(handle, min(_BLOCK, length), offset)
        if not block or block.count(0) != len(block):
            return False
        offset, length = offset + len(block), length - len(block)
    return True


def _extra(folder: Path, expected: set[bytes]) -> list[bytes]:
    """Up to ten paths in the folder that the point does not have. Parent folders of its entries don't count."""
    needed = {path[:at] for path in expected for at, letter in enumerate(path) if letter == ord("/")}
    root = os.fsencode(folder)
    found: list[bytes] = []
    for parent, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = os.path.relpath(os.path.join(parent, name), root)
            if path not in expected and path not in needed:
                found.append(path)
                if len(found) == MOST_WRONG:
                    return found
    return found
