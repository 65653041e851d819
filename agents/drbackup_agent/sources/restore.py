"""Where a point is restored to: a folder, for any kind of source, or the source's own place, as its kind does it."""

from __future__ import annotations

from drbackup.errors import UsageError
from drbackup.wire.messages import RestoreResult
from drbackup.wire.specs import FolderTarget, InPlaceTarget, RestoreTarget, SourceSpec
from drbackup_agent.sources.base import RestoreRequest, Watch
from drbackup_agent.sources.files.restore import folder_request, restore_folder
from drbackup_agent.sources.kinds import kind_of, read_spec


def restore_point(target: RestoreTarget, request: RestoreRequest, watch: Watch) -> RestoreResult:
    """The result of restoring what ``request`` asks for to ``target``.

    Raises :class:`UsageError` for parts of a kind that can't be restored in place in parts. Raises the errors of the
    target, the vault and the tree.
    """
    match target:
        case FolderTarget():
            folder = folder_request(
                target.path, request.point, paths=request.paths, strip=target.strip, replace=request.replace
            )
            return restore_folder(request.reader, folder, watch)
        case InPlaceTarget():
            return _in_place(target.spec, request, watch)


def _in_place(source: SourceSpec, request: RestoreRequest, watch: Watch) -> RestoreResult:
    spec = read_spec(source)
    kind = kind_of(spec)
    if request.paths and not kind.parts_in_place:
        raise UsageError("parts of this kind of source can only be restored to a folder")
    return kind.restore(spec, request, watch)
