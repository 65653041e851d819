"""A drill's checks, measured on restored copies. The controller judges.

What leaves this module are numbers, digests and table names: never a row, a file's name or its content. A text result
goes out as its SHA-256, a wrong path as the first twelve characters of its BLAKE3.

* ``sql``: one query, one row, one column, read-only and with a time limit.
* ``counts``: rows and digest of each table (or of the database file) against the tree.
* ``files``: every entry of the tree against what lies in the folder, and nothing more in the folder.
* ``across``: every path a query names must lie in another source's restored copy.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from blake3 import blake3

from drbackup.errors import AgentDied, DrbackupError, Interrupted
from drbackup.vault.tree import Entry, EntryKind
from drbackup.wire.messages import Measured
from drbackup.wire.specs import CheckSpec
from drbackup_agent.drill.without_content import without_content
from drbackup_agent.sources.restored import Refuted, RestoredCopy

MOST_WRONG = 10
_NUMBER = re.compile(r"-?\d{1,30}(\.\d{1,30})?")
_BLOCK = 1 << 20


def measure(check: CheckSpec, copies: dict[str, RestoredCopy]) -> Measured:
    """One check's answer. What stops a check becomes its ``error``: the other checks still have their say."""
    if check.source not in copies:
        return Measured(check.number, error=f"source {check.source} was not restored")
    measures: dict[str, Callable[[CheckSpec, dict[str, RestoredCopy]], Measured]] = {
        "sql": _measure_sql,
        "counts": _measure_counts,
        "files": _measure_files,
        "across": _measure_across,
    }
    if check.kind not in measures:
        return Measured(check.number, error=f"this agent knows no check of kind {check.kind}")
    try:
        return measures[check.kind](check, copies)
    except (AgentDied, Interrupted):
        raise  # the whole drill is over, not this check
    except DrbackupError as failed:
        return Measured(check.number, error=without_content(failed))
    except (Refuted, OSError) as failed:
        return Measured(check.number, error=_safe(failed))


def _safe(failed: Exception) -> str:
    if isinstance(failed, OSError):  # its text would name a file
        return f"the restored copy can't be read: {os.strerror(failed.errno or 0)}"
    return str(failed)


# --- sql -------------------------------------------------------------------------------------------------------------


def _measure_sql(check: CheckSpec, copies: dict[str, RestoredCopy]) -> Measured:
    rows = list(_limited(copies[check.source].query(check.query), 2))
    if len(rows) != 1:
        raise Refuted("the query gave no row" if not rows else "the query gave more than one row")
    return Measured(check.number, value=figure(rows[0]), compared=1)


def figure(cell: bytes) -> str:
    """A number as it is, true and false as such, anything else as a digest: a text may name a person."""
    text = cell.decode("utf-8", "surrogateescape").strip()
    if _NUMBER.fullmatch(text):
        return text
    if text.lower() in {"t", "true", "f", "false"}:
        return "true" if text.lower().startswith("t") else "false"
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _limited(rows: Iterator[bytes], most: int) -> Iterator[bytes]:
    for _, row in zip(range(most), rows, strict=False):
        yield row


# --- counts ----------------------------------------------------------------------------------------------------------


def _measure_counts(check: CheckSpec, copies: dict[str, RestoredCopy]) -> Measured:
    copy = copies[check.source]
    tables = rows = wanted = 0
    wrong: list[str] = []
    for counted in copy.counted():
        tables += 1
        rows, wanted = rows + max(counted.rows, 0), wanted + max(counted.wanted_rows, 0)
        if counted.rows != counted.wanted_rows:
            wrong.append(f"{counted.name}: {counted.rows} rows, not {counted.wanted_rows}")
        elif counted.digest != counted.wanted_digest:
            wrong.append(f"{counted.name}: another digest")
    return Measured(
        check.number,
        value=f"{tables} tables, {rows} rows",
        expected=f"{tables} tables, {wanted} rows",
        compared=tables,
        wrong=tuple(wrong[:MOST_WRONG]),
    )


# --- files -----------------------------------------------------------------------------------------------------------


def _measure_files(check: CheckSpec, copies: dict[str, RestoredCopy]) -> Measured:
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
    """What is wrong with one restored entry; empty when nothing is."""
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
    """BLAKE3 of the file without the tree's holes, as the tree counts it; a hole that holds data is a difference."""
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
    """Up to ten things in the folder that the point does not have. Folders on the way to its entries are no surplus."""
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


def path_digest(path: bytes) -> str:
    """How a result names a path."""
    digest: str = blake3(path).hexdigest()
    return digest[:12]


# --- across ----------------------------------------------------------------------------------------------------------


def _measure_across(check: CheckSpec, copies: dict[str, RestoredCopy]) -> Measured:
    other = copies.get(check.other)
    if other is None or other.folder is None:
        raise Refuted(f"source {check.other} was not restored as files")
    roots = tuple(os.fsencode(path).strip(b"/") for path in check.below) or (b"",)
    compared = missing = 0
    wrong: list[str] = []
    for row in copies[check.source].query(check.query):
        compared += 1
        if not _exists(other.folder, roots, row):
            missing += 1
            if len(wrong) < MOST_WRONG:
                wrong.append(path_digest(row))
    return Measured(
        check.number,
        value=f"{compared - missing} of {compared} paths",
        expected=f"{compared} of {compared} paths",
        compared=compared,
        wrong=tuple(wrong),
    )


def _exists(folder: Path, roots: tuple[bytes, ...], row: bytes) -> bool:
    """Is there a file of this path, absolute or below one of the source's paths? Rows that climb out never match."""
    parts = [part for part in row.split(b"/") if part not in {b"", b"."}]
    if not parts or b".." in parts or b"\0" in row:
        return False
    name = b"/".join(parts)
    candidates = [name] if row.startswith(b"/") else [b"/".join((root, name)) if root else name for root in roots]
    return any(_is_inside(folder, candidate) for candidate in candidates)


def _is_inside(folder: Path, name: bytes) -> bool:
    """A regular file at ``name``, reached without passing a symbolic link that a restored tree might hold."""
    path = os.fsencode(folder)
    parts = name.split(b"/")
    for number, part in enumerate(parts):
        path = os.path.join(path, part)
        try:
            mode = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return False
        if number == len(parts) - 1:
            return stat.S_ISREG(mode)
        if not stat.S_ISDIR(mode):
            return False
    return False
