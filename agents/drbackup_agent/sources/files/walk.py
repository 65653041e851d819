"""Walking directory trees safely: by directory handles, in the tree's order, with names as bytes.

Every step is relative to an open directory and never follows a symbolic link. So nobody can lead the walk elsewhere by
renaming things while it runs. Names are the kernel's bytes; they are decoded only to match an exclusion.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat as modes
from collections.abc import Callable, Iterator, Sequence

import msgspec

from drbackup.errors import SourceUnreadable, say
from drbackup.system.console import one_line
from drbackup_agent.sources.base import Watch

TOGETHER = 64  # files looked at before the first of them is read
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class WalkedPath(msgspec.Struct):
    """One path of the walk."""

    path: bytes  # in the tree: absolute without the leading slash
    parent: int  # an open handle of its directory, valid until the walk goes on
    name: bytes  # in that directory
    stat: os.stat_result
    ancestor: bool = False  # a folder above the source's paths: only its own facts are copied
    handle: int = -1  # a folder's own open handle, valid until the walk goes on
    opened: int = -1  # a file's open handle; whoever opens the file ahead of its reading closes it


class Excluded:
    """The exclusions of a source: globs on a name, or, when they contain a slash, on the whole absolute path."""

    def __init__(self, globs: Sequence[str]) -> None:
        plain = [each.rstrip("/") for each in globs]
        self._names = _joined([each for each in plain if "/" not in each])
        self._paths = _joined([each.removesuffix("/**") for each in plain if "/" in each])

    def __call__(self, path: bytes, name: bytes) -> bool:
        if self._names and self._names.match(os.fsdecode(name)):
            return True
        return bool(self._paths and self._paths.match("/" + os.fsdecode(path)))

    def __bool__(self) -> bool:
        return bool(self._names or self._paths)


def _joined(globs: list[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(fnmatch.translate(each) for each in globs)) if globs else None


def top_paths(paths: Sequence[str]) -> list[bytes]:
    """The paths as tree paths, in tree order, each once and without those inside another.

    Raises :class:`SourceUnreadable` when one is not absolute, or is reached over a symbolic link. Copying the link
    instead of what it leads to would be an empty backup that looks like a good one.
    """
    tops: list[bytes] = []
    for given in paths:
        plain = os.path.normpath(given)
        if not os.path.isabs(plain):
            raise SourceUnreadable(say("{given}: not an absolute path", given=given), where=given)
        plain = "/" + plain.lstrip("/")
        real = os.path.realpath(plain)
        if real != plain:
            raise SourceUnreadable(
                say("{given} leads over a symbolic link to {real}", given=given, real=real),
                where=given,
                hint=say("name {real}", real=real),
            )
        tops.append(os.fsencode(plain[1:]))
    kept: list[bytes] = []
    for top in sorted(set(tops), key=lambda each: each.replace(b"/", b"\0")):
        if not any(above == b"" or top.startswith(above + b"/") for above in kept):
            kept.append(top)
    return kept


class Walk:
    """Every path below ``tops`` in the tree's order, in lists. Iterating raises :class:`SourceUnreadable`.

    A folder comes alone, and before what it contains. Other neighbours come up to :data:`TOGETHER` at a time, so that a
    disk can be asked for several at once. ``exclude`` gets a tree path and a name and never applies to the tops.
    """

    def __init__(
        self, tops: Sequence[bytes], exclude: Callable[[bytes, bytes], bool] | None, one_filesystem: bool, watch: Watch
    ) -> None:
        self._tops = tops
        self._exclude = exclude
        self._one_filesystem = one_filesystem
        self._watch = watch

    def __iter__(self) -> Iterator[list[WalkedPath]]:
        shown_above: set[bytes] = set()
        for top in self._tops:
            yield from self._top(top, shown_above)

    def _top(self, top: bytes, above: set[bytes]) -> Iterator[list[WalkedPath]]:
        handles = [os.open(b"/", _DIRECTORY)]
        parts = top.split(b"/") if top else []
        try:
            for depth, part in enumerate(parts[:-1], 1):
                path = b"/".join(parts[:depth])
                found = _look(handles[-1], part, path)
                handles.append(_open_folder(handles[-1], part, path))
                if path not in above:
                    above.add(path)
                    found.ancestor, found.handle = True, handles[-1]
                    yield [found]
            if not parts:
                yield from self._inside(os.dup(handles[0]), b"", os.fstat(handles[0]).st_dev)
                return
            found = _look(handles[-1], parts[-1], top)
            if modes.S_ISDIR(found.stat.st_mode):
                found.handle = _open_folder(handles[-1], parts[-1], top)
                try:
                    yield [found]
                    inside = os.dup(found.handle)
                finally:
                    os.close(found.handle)
                yield from self._inside(inside, top, found.stat.st_dev)
            else:
                yield [found]
        finally:
            for handle in handles:
                os.close(handle)

    def _inside(self, handle: int, path: bytes, device: int) -> Iterator[list[WalkedPath]]:
        """Everything below an open folder, whose handle is closed here."""
        levels = [(handle, path, iter(_names(handle, path)))]
        try:
            while levels:
                handle, path, names = levels[-1]
                files, folder = self._neighbours(handle, path, names)
                if folder is not None:
                    levels.append((folder.handle, folder.path, iter(())))  # owned from here on, whatever happens
                if files:
                    yield files
                if folder is not None:
                    yield [folder]
                    if self._one_filesystem and folder.stat.st_dev != device:
                        self._watch.note(f"{one_line(folder.path)}: another filesystem, not entered")
                    else:
                        levels[-1] = (folder.handle, folder.path, iter(_names(folder.handle, folder.path)))
                elif not files:
                    os.close(levels.pop()[0])
        finally:
            for handle, _, _ in levels:
                os.close(handle)

    def _neighbours(
        self, parent: int, path: bytes, names: Iterator[bytes]
    ) -> tuple[list[WalkedPath], WalkedPath | None]:
        """The next files, and the folder that came after them, if one did. Neither when no names are left."""
        files: list[WalkedPath] = []
        for name in names:
            below = path + b"/" + name if path else name
            if self._exclude and self._exclude(below, name):
                continue
            found = self._visit(parent, name, below)
            if found is None:
                continue
            if found.handle >= 0:
                return files, found
            files.append(found)
            if len(files) == TOGETHER:
                break
        return files, None

    def _visit(self, parent: int, name: bytes, path: bytes) -> WalkedPath | None:
        """One name's facts, with a handle if it is a folder. None when it vanished."""
        self._watch.check()
        try:
            found = _look(parent, name, path)
            if modes.S_ISDIR(found.stat.st_mode):
                found.handle = _open_folder(parent, name, path)
                found.stat = os.fstat(found.handle)
        except SourceUnreadable as bad:
            if isinstance(bad.__cause__, FileNotFoundError):
                self._watch.note(f"{one_line(path)}: vanished while the tree was walked")
                return None
            raise
        return found


def _look(parent: int, name: bytes, path: bytes) -> WalkedPath:
    try:
        return WalkedPath(path, parent, name, os.stat(name, dir_fd=parent, follow_symlinks=False))
    except OSError as bad:
        raise unreadable(path, bad) from bad


def _open_folder(parent: int, name: bytes, path: bytes) -> int:
    try:
        return open_quietly(name, _DIRECTORY, parent)
    except OSError as bad:
        raise unreadable(path, bad) from bad


def _names(handle: int, path: bytes) -> list[bytes]:
    # Over /proc because only a bytes path makes listdir return bytes: a name need not be text in any encoding.
    try:
        return sorted(os.listdir(b"/proc/self/fd/%d" % handle))
    except OSError as bad:
        raise unreadable(path, bad) from bad


def open_quietly(name: bytes, flags: int, parent: int) -> int:
    """An open handle. The access time is not changed where the kernel allows that (for the owner and root)."""
    try:
        return os.open(name, flags | os.O_NOATIME, dir_fd=parent)
    except PermissionError:
        return os.open(name, flags, dir_fd=parent)


def unreadable(path: bytes, bad: OSError) -> SourceUnreadable:
    """The error for a path that must not be skipped."""
    return SourceUnreadable(say("/{path}: {why}", path=one_line(path), why=bad.strerror), where="/" + one_line(path))
