"""The check ``across``: every path that a query gives must be a file in another source's restored copy."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from drbackup.wire.messages import Measured
from drbackup.wire.specs import CheckSpec
from drbackup_agent.drill.checks.base import MOST_WRONG, Copies, path_digest
from drbackup_agent.sources.restored import Refuted


def measure_across(check: CheckSpec, copies: Copies) -> Measured:
    """The number of paths that are there, and digests of up to ten that are missing.

    Raises :class:`Refuted` when the other source was not restored as files.
    """
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
    """Whether a file of this path is there, absolute or below one of the source's paths. One with ``..`` never is."""
    parts = [part for part in row.split(b"/") if part not in {b"", b"."}]
    if not parts or b".." in parts or b"\0" in row:
        return False
    name = b"/".join(parts)
    candidates = [name] if row.startswith(b"/") else [b"/".join((root, name)) if root else name for root in roots]
    return any(_is_inside(folder, candidate) for candidate in candidates)


def _is_inside(folder: Path, name: bytes) -> bool:
    """Whether a regular file is at ``name``. One behind a symbolic link is none: links may lead out of the copy."""
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
