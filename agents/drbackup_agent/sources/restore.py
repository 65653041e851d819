"""Where a point goes: below a folder for any kind, or back to where its source lives, each kind in its own way."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec.structs import replace

from drbackup.errors import PointMissing, UsageError
from drbackup.vault.read.reader import PointReader
from drbackup.vault.tree import Entry, EntryKind
from drbackup.wire.messages import RestoreResult
from drbackup.wire.specs import (
    CommandSpec,
    FilesSpec,
    FolderTarget,
    InPlaceTarget,
    Limits,
    PostgresSpec,
    RestoreTarget,
    SourceSpec,
    SqliteSpec,
)
from drbackup_agent.sources.base import Watch
from drbackup_agent.sources.command import restore_command
from drbackup_agent.sources.files.restore import FolderRequest, folder_request, restore_folder
from drbackup_agent.sources.files.restore_facts import apply_facts
from drbackup_agent.sources.files.restore_target import Target, require_possible
from drbackup_agent.sources.postgres.restore import restore_postgres
from drbackup_agent.sources.sqlite import place_restored, require_replaceable


class RestoreRequest(msgspec.Struct, frozen=True):
    """One restore. ``point``: the record's id, hex; ``paths``: tree paths, empty for all."""

    reader: PointReader
    point: str
    state_folder: Path
    paths: tuple[bytes, ...] = ()
    replace: bool = False
    limits: Limits = Limits()


def restore_point(target: RestoreTarget, request: RestoreRequest, watch: Watch) -> RestoreResult:
    """Restore to a target. Raises the target's, the vault's and the tree's errors."""
    match target:
        case FolderTarget():
            folder = folder_request(
                target.path, request.point, paths=request.paths, strip=target.strip, replace=request.replace
            )
            return restore_folder(request.reader, folder, watch)
        case InPlaceTarget():
            return _in_place(target.spec, request, watch)


def _in_place(spec: SourceSpec, request: RestoreRequest, watch: Watch) -> RestoreResult:
    if request.paths and not isinstance(spec, FilesSpec):
        raise UsageError("parts of this kind of source can only be restored to a folder")
    match spec:
        case FilesSpec():
            return _files_in_place(spec, request, watch)
        case SqliteSpec():
            return _sqlite_in_place(spec, request, watch)
        case PostgresSpec():
            stall = request.limits.stall_seconds
            return restore_postgres(request.reader, spec, watch, replace=request.replace, stall_seconds=stall)
        case CommandSpec():
            reader = request.reader
            entry = restore_command(reader, spec, stall_seconds=request.limits.stall_seconds, watch=watch)
            return RestoreResult(1, 1, entry.size, notes=watch.notes)


def _files_in_place(spec: FilesSpec, request: RestoreRequest, watch: Watch) -> RestoreResult:
    tops = [os.path.normpath(path).strip("/").encode("utf-8", "surrogateescape") for path in spec.paths]
    for path in request.paths:
        if not any(path.strip(b"/") == top or path.strip(b"/").startswith(top + b"/") for top in tops):
            raise UsageError("a path to restore does not lie below the source's paths")
    request.state_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    above = {top[:at] for top in tops for at in range(len(top)) if top[at : at + 1] == b"/"}
    folder = FolderRequest(
        folder="/",
        point=request.point,
        journal=request.state_folder / f"restore-{request.point[:16]}",
        paths=tuple(path.strip(b"/") for path in request.paths) or tuple(tops),
        replace=request.replace,
        fixed=frozenset(above),
        covers=tuple("/" + os.fsdecode(path.strip(b"/")) for path in request.paths or tops),
    )
    return restore_folder(request.reader, folder, watch)


def _sqlite_in_place(spec: SqliteSpec, request: RestoreRequest, watch: Watch) -> RestoreResult:
    """Written beside the database, checked, then renamed over it."""
    target = Path(spec.path)
    require_replaceable(target, replace_it=request.replace)
    reader = request.reader
    entry = only_file(reader)
    require_possible(entry)
    work = target.parent / f".drbackup-restore-{request.point[:16]}"
    try:
        with Target(str(work), watch, replace=True) as folder:
            with folder.begin_file(b"database") as file:
                offset = 0
                for block in reader.content(entry):
                    watch.check()
                    file.write(block, offset)
                    offset += len(block)
                apply_facts(file.handle, replace(entry, path=b"database"), watch)
                os.fsync(file.handle)
            folder.place(b"database")
        place_restored(work / "database", target)
    finally:
        (work / "database").unlink(missing_ok=True)
        work.rmdir()
    return RestoreResult(1, 1, entry.size, notes=watch.notes)


def only_file(reader: PointReader) -> Entry:
    """The one file of a point that is a single file."""
    found = next((entry for entry in reader.entries() if entry.kind == EntryKind.FILE), None)
    if found is None:
        raise PointMissing("the point holds no file")
    return found
