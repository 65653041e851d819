"""A SQLite database, as the jobs and drills ask for it."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec.structs import replace

from drbackup.errors import PointMissing
from drbackup.vault.read.reader import PointReader
from drbackup.vault.tree import Entry, EntryKind
from drbackup.wire.messages import RestoreResult
from drbackup_agent.sources.base import DrillStage, RestoreRequest, SourceKind, Watch
from drbackup_agent.sources.files.restore_facts import apply_facts
from drbackup_agent.sources.files.restore_target import Target, require_possible
from drbackup_agent.sources.sqlite.restored_copy import SqliteCopy
from drbackup_agent.sources.sqlite.source import SqliteSource, place_restored, require_replaceable
from drbackup_agent.sources.sqlite.spec import SqliteSpec


def _restore(spec: SqliteSpec, request: RestoreRequest, watch: Watch) -> RestoreResult:
    """Writes the file beside the database, checks it, then renames it over the database."""
    target = Path(spec.path)
    require_replaceable(target, replace_it=request.replace)
    reader = request.reader
    entry = _only_file(reader)
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


def _only_file(reader: PointReader) -> Entry:
    """The one file of a point that is a single file."""
    found = next((entry for entry in reader.entries() if entry.kind == EntryKind.FILE), None)
    if found is None:
        raise PointMissing("the point holds no file")
    return found


def _drill(stage: DrillStage) -> tuple[SqliteCopy, RestoreResult]:
    result = stage.into_folder()
    return SqliteCopy(stage.source, stage.reader, stage.folder), result


SQLITE = SourceKind(spec=SqliteSpec, open=SqliteSource, restore=_restore, drill=_drill)
