"""Writes a point, or parts of it, below a folder. The restore twin of directory trees, and the plain way for any kind.

Content is authenticated chunk by chunk as it is written and digest-checked as a whole before a file gets its name. What
was finished before an interruption is in the journal and, if it still has its digest, is not fetched twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from drbackup.errors import PathEscape, PointMissing, RestoreMismatch, TargetOccupied, UsageError
from drbackup.vault.reader import PointReader
from drbackup.vault.tree import Entry, EntryKind, path_key
from drbackup.wire.messages import RestoreResult
from drbackup_agent.sources.base import Watch, shown
from drbackup_agent.sources.restore_facts import apply_facts
from drbackup_agent.sources.restore_journal import RestoreJournal
from drbackup_agent.sources.restore_target import Target, require_possible, safe_parts

_READ = 4 << 20


@dataclass(frozen=True, slots=True)
class FolderRequest:
    """What to write where. ``paths``: tree paths, empty for all; ``strip``: leading tree path to leave out.

    ``journal`` is a file beside the target; ``fixed``: folders that keep their facts when they exist; ``covers``: the
    places that must be empty without ``replace`` (None: the folder itself).
    """

    folder: str
    point: str
    journal: Path
    paths: tuple[bytes, ...] = ()
    strip: bytes = b""
    replace: bool = False
    fixed: frozenset[bytes] = frozenset()
    covers: tuple[str, ...] | None = None


def folder_request(
    folder: str, point: str, *, paths: tuple[bytes, ...] = (), strip: str = "", replace: bool = False
) -> FolderRequest:
    """A request to restore into ``folder``, with its journal beside it."""
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
    """Write what is asked for. Raises the target's, the vault's and the tree's errors; what was finished stays."""
    journal = RestoreJournal(request.journal, f"{request.point} {request.folder}")
    if not request.replace and not journal.resumes:
        _require_empty(request)
    with Target(request.folder, watch, replace=request.replace, fixed=request.fixed) as target, journal:
        work = _Restore(reader, request, target, journal, watch)
        for entry, above in _selected(reader, request.paths):
            work.one(entry, above=above)
        result = work.result()
    journal.remove()
    return result


def _require_empty(request: FolderRequest) -> None:
    for place in (request.folder,) if request.covers is None else request.covers:
        try:
            occupied = bool(os.listdir(place))
        except NotADirectoryError:
            occupied = True
        except FileNotFoundError:
            occupied = os.path.lexists(place)
        if occupied:
            raise TargetOccupied(f"{place} is not empty", where=place)


def _selected(reader: PointReader, paths: tuple[bytes, ...]) -> Iterator[tuple[Entry, bool]]:
    """(entry, is it only a folder above what was asked for), in tree order."""
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
            raise PointMissing(f"the point holds nothing at {shown(path)!r}", hint="see: drbackup points ls POINT")


class _Restore:
    """One restore under way: the order of work for each kind of entry."""

    def __init__(
        self, reader: PointReader, request: FolderRequest, target: Target, journal: RestoreJournal, watch: Watch
    ) -> None:
        self._reader = reader
        self._request = request
        self._target = target
        self._journal = journal
        self._watch = watch
        self._first_links: dict[bytes, bytes] = {}  # tree path of the content → where it lies in the target
        self._entries = self._files = self._bytes = self._skipped = 0

    def result(self) -> RestoreResult:
        return RestoreResult(self._entries, self._files, self._bytes, self._skipped, self._watch.notes)

    def one(self, entry: Entry, *, above: bool) -> None:
        """Restore one entry. Every name is judged before anything is done for it."""
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
            self._watch.note(f"{shown(entry.path)}: a device, which only root can make")
        else:
            self._target.add_special(entry, path)

    def _path(self, entry: Entry, *, above: bool) -> bytes | None:
        """Where the entry goes below the target, without the part to leave out. None: it is above that part."""
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
        raise UsageError(f"{shown(entry.path)} does not lie below {shown(strip)}", hint="choose another strip or paths")

    def _file(self, entry: Entry, path: bytes) -> None:
        if self._finished_before(entry, path):
            self._skipped += 1
        else:
            self._require_ours(entry, path)
            with self._target.begin_file(path) as file:
                self._write(entry, file.write)
                file.resize(entry.size)
                apply_facts(file.handle, entry, self._watch)
            self._target.place(path)
            stat = self._target.stat(path)
            if stat is not None:
                self._journal.done(path, stat)
        self._first_links[entry.path] = path
        self._files += 1
        self._bytes += entry.size

    def _write(self, entry: Entry, write: Callable[[bytes | memoryview, int], None]) -> None:
        """The content between the holes. Raises :class:`RestoreMismatch` when both do not make the size."""
        segments = _segments(entry)
        start, left = next(segments, (entry.size, 0))
        for block in self._reader.content(entry):
            self._watch.check()
            view = memoryview(block)
            while view:
                if not left:
                    raise RestoreMismatch(f"{shown(entry.path)}: more content than its size allows")
                part = view[:left]
                write(part, start)
                view, start, left = view[len(part) :], start + len(part), left - len(part)
                if not left:
                    start, left = next(segments, (entry.size, 0))
        if left:
            raise RestoreMismatch(f"{shown(entry.path)}: less content than its size")

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
        """A restore that goes on finds its own files only. What somebody else put there since it was interrupted, days
        ago perhaps, does not go without ``replace``: then the emptiness of the target was not looked at again."""
        if self._request.replace or not self._journal.resumes:
            return
        stat = self._target.stat(path)
        # A power cut may lose the journal's last rows, but hardly gives a foreign file our time to the nanosecond.
        if stat is not None and stat.st_mtime_ns != entry.mtime_ns and not self._journal.knows(path, stat):
            raise TargetOccupied(
                f"{shown(path)} was put into {self._request.folder} after an earlier restore of this point broke off",
                where=shown(path),
            )

    def _link(self, entry: Entry, path: bytes) -> None:
        safe_parts(entry.target)
        first = self._first_links.get(entry.target)
        if first is not None:
            self._target.add_link(path, first)
            return
        # Its first name was not asked for: the content comes here, and later links of it come to this one.
        origin = self._reader.find(entry.target)
        if origin is None or origin.kind != EntryKind.FILE:
            raise PathEscape(f"{shown(entry.path)} is a hard link to nothing in this point", where=shown(entry.path))
        self._file(origin, path)


def _segments(entry: Entry) -> Iterator[tuple[int, int]]:
    """(offset, length) of the data between the holes. Raises :class:`RestoreMismatch` on a senseless map."""
    at = 0
    for offset, length in (*entry.holes, (entry.size, 0)):
        if offset < at or length < 0 or offset + length > entry.size:
            raise RestoreMismatch(f"{shown(entry.path)}: its map of holes makes no sense")
        if offset > at:
            yield at, offset - at
        at = offset + length


def _digest_without_holes(handle: int, entry: Entry) -> bytes:
    hasher = blake3()
    for start, length in _segments(entry):
        at, end = start, start + length
        while at < end and (block := os.pread(handle, min(_READ, end - at), at)):
            hasher.update(block)
            at += len(block)
    return hasher.digest()
