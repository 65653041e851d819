"""The source of directory trees, which owns the order of work.

It walks the trees, tells the kinds of paths apart, reads the files that changed and keeps the others' content. The
entries have all that a restore needs: content, mode, owner, times, links, holes, extended attributes, ACLs, fifos and
devices.
"""

from __future__ import annotations

import os
import stat as modes

from msgspec.structs import replace

from drbackup.errors import DrbackupError, SourceUnreadable, say
from drbackup.model.point import SourceFacts
from drbackup.system.console import one_line
from drbackup.vault.tree import EntryKind
from drbackup.vault.write.writer import PointWriter
from drbackup.wire.messages import PreflightCheck
from drbackup_agent.sources.base import Pin, SourceContext, Substance, Watch
from drbackup_agent.sources.files.cache import FileCache, Row
from drbackup_agent.sources.files.canary import CANARY_NAME, write_canary
from drbackup_agent.sources.files.entries import entry_of, read_xattrs
from drbackup_agent.sources.files.read import open_ahead, read_file
from drbackup_agent.sources.files.spec import FilesSpec
from drbackup_agent.sources.files.walk import Excluded, Walk, WalkedPath, top_paths, unreadable

_KINDS = {
    modes.S_IFREG: EntryKind.FILE,
    modes.S_IFDIR: EntryKind.DIR,
    modes.S_IFLNK: EntryKind.SYMLINK,
    modes.S_IFIFO: EntryKind.FIFO,
    modes.S_IFCHR: EntryKind.CHAR,
    modes.S_IFBLK: EntryKind.BLOCK,
    modes.S_IFSOCK: EntryKind.SOCKET,
}


class FilesSource:
    """The trees at ``spec.paths`` as a :class:`~drbackup_agent.sources.base.Source`."""

    kind = "files"

    def __init__(self, spec: FilesSpec, context: SourceContext) -> None:
        self._spec = spec
        self._context = context
        self._tops: list[bytes] = []
        self._pin = Pin(0)
        self._canary_ns = 0
        self._canary_note = ""
        self._cache: FileCache | None = None
        # (device, inode) → path, size and mtime as they were read
        self._first_links: dict[tuple[int, int], tuple[bytes, int, int]] = {}
        self._files = self._bytes = 0

    # --- the Source protocol -------------------------------------------------------------------------------------

    def preflight(self) -> list[PreflightCheck]:
        checks = []
        for path in self._spec.paths:
            try:
                top_paths([path])
                if os.path.isdir(path):
                    os.listdir(path)
                elif not os.access(path, os.R_OK):
                    raise SourceUnreadable(say("{path}: can't be read", path=path))
            except (DrbackupError, OSError) as bad:
                checks.append(PreflightCheck(f"path {path}", False, str(bad)))
            else:
                checks.append(PreflightCheck(f"path {path}", True, "readable"))
        if os.geteuid() != 0:
            checks.append(PreflightCheck("account", True, "not root, so every file must be readable to this account"))
        return checks

    def pin(self) -> Pin:
        self._tops = top_paths(self._spec.paths)
        for top in self._tops:
            try:
                os.stat(b"/" + top, follow_symlinks=False)
            except OSError as bad:
                raise unreadable(top, bad) from bad
        now = self._context.clock_ns()
        if self._spec.canary:
            self._canary_note = write_canary(self._spec.paths[0], now)
            self._canary_ns = 0 if self._canary_note else now
        self._pin = Pin(self._context.clock_ns())
        return self._pin

    def copy(self, writer: PointWriter, watch: Watch) -> SourceFacts:
        if self._canary_note:
            watch.note(self._canary_note)
        context = self._context
        self._cache = FileCache(
            context.state_folder, context.label, context.mark, begun_ns=self._pin.pinned_ns, retired=context.retired
        )
        if context.use_cache:
            self._cache.load()
        excluded = Excluded(self._spec.exclude)
        for neighbours in Walk(self._tops, excluded or None, self._spec.one_filesystem, watch):
            self._together(neighbours, writer, watch)
        return SourceFacts(
            pinned_ns=self._pin.pinned_ns,
            kind=self.kind,
            tool="files",
            canary_ns=self._canary_ns,
            notes=watch.notes,
        )

    def substance(self) -> Substance:
        return Substance(self._files, self._bytes, say("files"))

    def remember(self) -> None:
        if self._cache is not None:
            self._cache.save()

    def close(self) -> None:
        if self._cache is not None:
            self._cache.close()
            self._cache = None

    # --- one path ------------------------------------------------------------------------------------------------

    def _together(self, neighbours: list[WalkedPath], writer: PointWriter, watch: Watch) -> None:
        try:
            rows = [self._unchanged(found) for found in neighbours]
            for found, row in zip(neighbours, rows, strict=True):
                self._one(found, row, writer, watch)
        finally:
            for found in neighbours:
                if found.opened >= 0:
                    os.close(found.opened)

    def _unchanged(self, found: WalkedPath) -> Row | None:
        """The last run's row of a file that is unchanged since; None for others. A file to be read is opened ahead."""
        if not modes.S_ISREG(found.stat.st_mode):
            return None
        assert self._cache is not None
        row = self._cache.find(found.path, found.stat)
        if row is None and found.stat.st_nlink == 1:  # a further link will most likely not be read
            open_ahead(found)
        return row

    def _one(self, found: WalkedPath, row: Row | None, writer: PointWriter, watch: Watch) -> None:
        kind = _KINDS[modes.S_IFMT(found.stat.st_mode)]
        try:
            if kind == EntryKind.FILE:
                self._file(found, row, writer, watch)
            elif kind == EntryKind.DIR:
                writer.add(entry_of(found.path, kind, found.stat, read_xattrs(found.handle)))
            else:
                self._special(found, kind, writer, watch)
        except FileNotFoundError:
            watch.note(f"{one_line(found.path)}: vanished while the tree was walked")
        except OSError as bad:
            raise unreadable(found.path, bad) from bad

    def _file(self, found: WalkedPath, row: Row | None, writer: PointWriter, watch: Watch) -> None:
        linked = found.stat.st_nlink > 1
        if linked and self._add_link(found, writer):
            return
        cache = self._cache
        assert cache is not None
        stat = found.stat
        if row is not None:
            writer.keep(entry_of(found.path, EntryKind.FILE, stat, row.xattrs, row))
            cache.keep(row)
        else:
            reading = read_file(found, writer, watch, self._context.limits.read_retries)
            if reading is None:
                watch.note(f"{one_line(found.path)}: vanished or was replaced before it could be read")
                return
            stat = reading.stat
            entry = entry_of(found.path, EntryKind.FILE, stat, reading.xattrs)
            writer.add(replace(entry, size=stat.st_size, holes=reading.holes), reading.content)
            cache.remember(found.path, stat, reading.xattrs, reading.content, reading.holes)
        if not (self._canary_ns and found.name == CANARY_NAME):
            self._files += 1
            self._bytes += stat.st_size
        if linked:
            self._first_links[stat.st_dev, stat.st_ino] = (found.path, stat.st_size, stat.st_mtime_ns)

    def _add_link(self, found: WalkedPath, writer: PointWriter) -> bool:
        """Whether the path was added as a hard link to a file that was read before.

        False when its inode was not read yet, or is not as it was then: written to, or by now of another file.
        """
        stat = found.stat
        path, *as_read = self._first_links.get((stat.st_dev, stat.st_ino), (b"", -1, -1))
        if as_read != [stat.st_size, stat.st_mtime_ns]:
            return False
        writer.add(replace(entry_of(found.path, EntryKind.HARDLINK, stat, ()), target=path))
        return True

    def _special(self, found: WalkedPath, kind: EntryKind, writer: PointWriter, watch: Watch) -> None:
        xattrs = read_xattrs(b"/proc/self/fd/%d/%s" % (found.parent, found.name))
        entry = entry_of(found.path, kind, found.stat, xattrs)
        if kind == EntryKind.SYMLINK:
            entry = replace(entry, target=os.readlink(found.name, dir_fd=found.parent))
        elif kind in (EntryKind.CHAR, EntryKind.BLOCK):
            entry = replace(entry, device=(os.major(found.stat.st_rdev), os.minor(found.stat.st_rdev)))
        elif kind == EntryKind.SOCKET:
            watch.note(f"{one_line(found.path)}: a socket; its name is kept, a program must make it again")
        writer.add(entry)
