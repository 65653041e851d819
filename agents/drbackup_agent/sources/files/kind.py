"""Directory trees, as the jobs and drills ask for them."""

from __future__ import annotations

import os

from drbackup.errors import UsageError
from drbackup.wire.messages import RestoreResult
from drbackup_agent.sources.base import DrillStage, RestoreRequest, SourceKind, Watch
from drbackup_agent.sources.files.restore import FolderRequest, restore_folder
from drbackup_agent.sources.files.restored_copy import FilesCopy
from drbackup_agent.sources.files.source import FilesSource
from drbackup_agent.sources.files.spec import FilesSpec


def _restore(spec: FilesSpec, request: RestoreRequest, watch: Watch) -> RestoreResult:
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


def _drill(stage: DrillStage) -> tuple[FilesCopy, RestoreResult]:
    result = stage.into_folder()
    return FilesCopy(stage.source, stage.reader, stage.folder), result


FILES = SourceKind(spec=FilesSpec, open=FilesSource, restore=_restore, drill=_drill, parts_in_place=True)
