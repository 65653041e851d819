"""Restoring a point, or parts of it, below a folder. Points of every kind can be restored so.

One thread walks the tree. It checks every name and makes folders, links and special files. Files go to
:mod:`drbackup_agent.sources.files.restore_contents`, whose threads read and write ahead. Files that were finished
before an interruption are in the journal; one that still has its digest is not fetched again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
from blake3 import blake3

from drbackup.errors import DrbackupError, PathEscape, PointMissing, TargetOccupied, UsageError, say
from drbackup.system.console import one_line
from drbackup.vault.read.read_ahead import ReadAhead
from drbackup.vault.read.reader import PointReader
from drbackup.vault.tree import Entry, EntryKind, path_key
from drbackup.wire.messages import RestoreResult
from drbackup_agent.sources.base import Watch
from drbackup_agent.sources.files.restore_contents import Contents, FileOnItsWay, segments
from drbackup_agent.sources.files.restore_journal import RestoreJournal
from drbackup_agent.sources.files.restore_target import Target, require_possible, safe_parts

_READ = 4 << 20  # bytes
_PLACES = 1 << 17  # files remembered in case a hard link to them comes


class FolderRequest(msgspec.Struct, frozen=True):
    """What to restore to which folder."""

    folder: str  # absolute
    point: str  # the record's id, hex
    journal: Path  # of the finished files; outside what is restored
    paths: tuple[bytes, ...] = ()  # tree paths; empty: all
    strip: bytes = b""  # leading tree path to leave out
    replace: bool = False  # whether files that are there may go
    fixed: frozenset[bytes] = frozenset()  # tree paths of folders that keep their facts when they exist
    covers: tuple[str, ...] | None = None  # what must be empty without ``replace``; None: the folder itself


def folder_request(
    folder: str, point: str, *, paths: tuple[bytes, ...] = (), strip: str = "", replace: bool = False
) -> FolderRequest:
    """A request to restore into ``folder``, whose journal is beside it."""
    plain = os.path.abspath(folder)
    journal = (
        Path(os.path.dirname(plain)) / f".drbackup-restore-{point[:16]}-{blake3(plain.encode()).hexdigest(length=4)}"
    )
    return FolderRequest(
        folder=plain,
        point=point,
        journal=journal,
        paths=tuple(path.strip(b"/") for path in paths if path.strip(b"/")),
        strip=os.fsencode(strip).strip(b"/"),
        replace=replace,
    )


def restore_folder(reader: PointReader, request: FolderRequest, watch: Watch) -> RestoreResult:
    """The result of a restore, once all of it is durable.

    Raises :class:`TargetOccupied` for a target that is not empty, and the errors of the target, the vault and the tree.
    What was finished stays there then.
    """
    journal = RestoreJournal(request.journal, f"{request.point} {request.folder}")
    if not request.replace and not journal.resumes:
        _require_empty(request)
    contents = Contents(watch, journal)
    with Target(request.folder, watch, replace=request.replace, fixed=request.fixed) as target, journal:
        try:
            with reader.read_ahead(contents.take) as ahead:
                contents.failed = lambda: ahead.failed
                target.settle = ahead.drain
                work = _TreeRestore(reader, request, target, journal, watch, ahead)
                try:
                    for entry, above in _selected(reader, request.paths):
                        work.one(entry, above=above)
                except DrbackupError as refused:
                    if not ahead.failed:
                        _finish_what_was_begun(ahead, refused)
                    raise
                ahead.drain()
            target.settle = _nothing
        except BaseException:
            contents.give_up()
            raise
        result = work.result()
    journal.remove()
    return result


def _finish_what_was_begun(ahead: ReadAhead[FileOnItsWay], because: DrbackupError) -> None:
    """Finishes the files on their way before ``because`` is raised, so that they need not be fetched again."""
    try:
        ahead.drain()
    except DrbackupError as worse:
        raise because from worse


def _nothing() -> None:
    """Replaces ``Target.settle`` once no slot is given out any more."""


def _require_empty(request: FolderRequest) -> None:
    for place in (request.folder,) if request.covers is None else request.covers:
        try:
            occupied = bool(os.listdir(place))
        except NotADirectoryError:
            occupied = True
        except FileNotFoundError:
            occupied = os.path.lexists(place)
        if occupied:
            raise TargetOccupied(say("{place} is not empty", place=place), where=place)


def _selected(reader: PointReader, paths: tuple[bytes, ...]) -> Iterator[tuple[Entry, bool]]:
    """Pairs in tree order: an entry, and whether it is only a folder above what was asked for."""
    if not paths:
        yield from ((entry, False) for entry in reader.entries())
        return
    above_seen: set[bytes] = set()
    done: list[bytes] = []
    for path in sorted(set(paths), key=path_key):
        if any(path == other or path.startswith(other + b"/") for other in done):
            continue
        done.append(path)
        parts = path.split(b"/")
        for depth in range(1, len(parts)):
            above = b"/".join(parts[:depth])
            if above not in above_seen and (entry := reader.find(above)) is not None:
                above_seen.add(above)
                yield entry, True
        found = False
        for entry in reader.entries(path):
            found = True
            yield entry, False
        if not found:
            raise PointMissing(
                say("the point holds nothing at {path}", path=repr(one_line(path))),
                hint="see: drbackup points ls POINT",
            )


class _TreeRestore:
    """One restore while it runs: the order of work for each kind of entry."""

    def __init__(
        self,
        reader: PointReader,
        request: FolderRequest,
        target: Target,
        journal: RestoreJournal,
        watch: Watch,
        ahead: ReadAhead[FileOnItsWay],
    ) -> None:
        self._reader = reader
        self._request = request
        self._target = target
        self._journal = journal
        self._watch = watch
        self._ahead = ahead
        self._places: dict[bytes, bytes] = {}  # tree path of a file → where it is in the target; only the last ones
        self._elsewhere: dict[bytes, bytes] = {}  # the same for contents that were restored at another link's name
        self._entries = self._files = self._bytes = self._skipped = 0

    def result(self) -> RestoreResult:
        """The numbers of what was restored so far, in entries, files and bytes."""
        return RestoreResult(self._entries, self._files, self._bytes, self._skipped, self._watch.notes)

    def one(self, entry: Entry, *, above: bool) -> None:
        """One entry is restored, or its file is on its way. Its name and facts are checked first."""
        self._watch.check()
        safe_parts(entry.path)
        require_possible(entry)
        path = self._path(entry, above=above)
        if path is None:
            return
        self._entries += 1
        if entry.kind == EntryKind.DIR:
            self._target.add_folder(entry, path, again=above)
        elif entry.kind == EntryKind.FILE:
            self._file(entry, path)
        elif entry.kind == EntryKind.HARDLINK:
            self._link(entry, path)
        elif entry.kind in (EntryKind.CHAR, EntryKind.BLOCK) and os.geteuid() != 0:
            self._watch.note(f"{one_line(entry.path)}: a device, which only root can make")
        else:
            self._target.add_special(entry, path)

    def _path(self, entry: Entry, *, above: bool) -> bytes | None:
        """The entry's path below the target, without the leading part to leave out. None for a folder in that part."""
        strip = self._request.strip
        if not strip:
            return entry.path
        if entry.path.startswith(strip + b"/"):
            return entry.path[len(strip) + 1 :]
        if entry.path == strip and entry.kind != EntryKind.DIR:
            return strip.rpartition(b"/")[2]
        if entry.kind == EntryKind.DIR and (entry.path == strip or strip.startswith(entry.path + b"/")):
            return None
        if above:
            return None
        raise UsageError(
            say("{path} does not lie below {strip}", path=one_line(entry.path), strip=one_line(strip)),
            hint="choose another strip or paths",
        )

    def _file(self, entry: Entry, path: bytes) -> None:
        if self._finished_before(entry, path):
            self._skipped += 1
        else:
            self._require_ours(entry, path)
            file = FileOnItsWay(entry, self._target.slot(path))
            self._ahead.add(file, entry.extents)
        self._places[entry.path] = path
        if len(self._places) > _PLACES:
            del self._places[next(iter(self._places))]
        self._files += 1
        self._bytes += entry.size

    def _finished_before(self, entry: Entry, path: bytes) -> bool:
        if not self._journal.resumes:
            return False
        stat = self._target.stat(path)
        if stat is None or stat.st_mtime_ns != entry.mtime_ns or not self._journal.knows(path, stat):
            return False
        handle = self._target.open_existing(path)
        try:
            return stat.st_size == entry.size and _digest_without_holes(handle, entry) == entry.digest
        finally:
            os.close(handle)

    def _require_ours(self, entry: Entry, path: bytes) -> None:
        """Raises :class:`TargetOccupied` when a resumed restore finds a file that is not its own.

        Somebody may have put it there since the interruption, days ago perhaps. Without ``replace`` it must stay, and a
        resumed restore does not require an empty target.
        """
        if self._request.replace or not self._journal.resumes:
            return
        stat = self._target.stat(path)
        # A power cut may lose the journal's last rows, but hardly gives a foreign file our time to the nanosecond.
        if stat is not None and stat.st_mtime_ns != entry.mtime_ns and not self._journal.knows(path, stat):
            name = one_line(path)
            raise TargetOccupied(
                say(
                    "{name} was put into {folder} after an earlier restore of this point broke off",
                    name=name,
                    folder=self._request.folder,
                ),
                where=name,
            )

    def _link(self, entry: Entry, path: bytes) -> None:
        safe_parts(entry.target)
        first = self._places.get(entry.target) or self._elsewhere.get(entry.target)
        if first is not None:
            self._target.add_link(path, first)
            return
        origin = self._reader.find(entry.target)
        if origin is None or origin.kind != EntryKind.FILE:
            raise PathEscape(
                say("{path} is a hard link to nothing in this point", path=one_line(entry.path)),
                where=one_line(entry.path),
            )
        first = self._path(origin, above=False) if self._came_before(origin, entry) else None
        if first is not None:
            self._target.add_link(path, first)
            return
        # Its first name was not asked for: the content is restored here, and later links are made to this one.
        self._elsewhere[origin.path] = path
        self._file(origin, path)

    def _came_before(self, origin: Entry, entry: Entry) -> bool:
        """Whether a file was restored so long ago that ``_places`` no longer has it."""
        if len(self._places) < _PLACES or path_key(origin.path) >= path_key(entry.path):
            return False
        asked = self._request.paths
        return not asked or any(origin.path == path or origin.path.startswith(path + b"/") for path in asked)


def _digest_without_holes(handle: int, entry: Entry) -> bytes:
    hasher = blake3()
    for start, length in segments(entry):
        at, end = start, start + length
        while at < end and (block := os.pread(handle, min(_READ, end - at), at)):
            hasher.update(block)
            at += len(block)
    return hasher.digest()
