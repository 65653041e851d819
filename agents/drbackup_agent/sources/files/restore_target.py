"""The target folder of a restore. Only this module and ``restore_slot`` make names there.

Nothing is opened by a whole path: every step opens the next directory and follows no symbolic link. So no byte is
written outside, whatever the tree or the target contains. A file or link is made under a temporary name in its own
directory, gets its facts, and is renamed when it is complete. A crash leaves temporary names, which the next attempt
replaces.

One thread walks the tree and owns the target. Other threads may write files: for each they get a :class:`Slot`. A
folder that was left is finished when the last slot in it is given back.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import stat as modes
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from drbackup.errors import PathEscape, RestoreMismatch, TargetOccupied, say
from drbackup.system.console import one_line
from drbackup.vault.tree import Entry, EntryKind
from drbackup_agent.sources.base import Watch
from drbackup_agent.sources.files.restore_facts import apply_facts
from drbackup_agent.sources.files.restore_slot import (
    NEW_FILE,
    OpenFolder,
    PartialFile,
    Slot,
    forget,
    is_folder,
    partial_name,
    target_error,
)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NODES = {EntryKind.CHAR: modes.S_IFCHR, EntryKind.BLOCK: modes.S_IFBLK, EntryKind.SOCKET: modes.S_IFSOCK}
_NO_NAMES = frozenset((b"", b".", b".."))
_DEFAULT_ACL = "system.posix_acl_default"
_HANDLES = 8192  # as many as are asked for: a folder stays open until its last file is written
_OTHER_HANDLES = 512  # for everything else in the process


def safe_parts(path: bytes) -> list[bytes]:
    """The components of a stored path. Raises :class:`PathEscape` for a path that could lead out of the target."""
    parts = path.split(b"/")
    if b"\0" in path or not _NO_NAMES.isdisjoint(parts) or len(max(parts, key=len)) > 255:
        raise PathEscape(say("the tree holds the name {path}", path=repr(one_line(path))), where=one_line(path))
    return parts


def require_possible(entry: Entry) -> None:
    """The entry's facts are possible for a file. Raises :class:`RestoreMismatch` otherwise.

    A tree with other facts was not made by an honest agent.
    """
    possible = (
        0 <= entry.size < 1 << 63
        and -(1 << 63) <= entry.mtime_ns < 1 << 63
        and -(1 << 63) <= entry.atime_ns < 1 << 63
        and 0 <= entry.mode <= 0o7777
        and 0 <= entry.uid < (1 << 32) - 1  # the last means "leave it"
        and 0 <= entry.gid < (1 << 32) - 1
        and 0 <= entry.device[0] < 1 << 20
        and 0 <= entry.device[1] < 1 << 20
        and b"\0" not in entry.target
        and "\0" not in entry.user
        and "\0" not in entry.group
        and (not entry.holes or all(0 <= number < 1 << 63 for hole in entry.holes for number in hole))
        and (not entry.xattrs or all(name and b"\0" not in name for name, _ in entry.xattrs))
    )
    if not possible:
        raise RestoreMismatch(say("{path}: no file can have the facts the tree gives it", path=one_line(entry.path)))


class Target:
    """An open target folder, as a context manager. Paths must be entered in tree order.

    When its ``with`` block ends without an exception, every folder is finished and all is durable. Methods raise the
    errors of :func:`target_error`, and :class:`PathEscape` for a path that leads outside.
    """

    def __init__(self, folder: str, watch: Watch, *, replace: bool, fixed: frozenset[bytes] = frozenset()) -> None:
        """``replace``: whether files that are in the way may go.

        ``fixed``: tree paths of folders that keep their own facts when they exist.
        """
        self.folder = folder
        self._watch = watch
        self._replace = replace
        self._fixed = fixed
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            root = os.open(folder, _DIRECTORY & ~os.O_NOFOLLOW)
        except OSError as bad:
            raise target_error(bad, folder) from bad
        self.settle: Callable[[], None] = lambda: None
        """Returns when all slots were given back. Whoever hands out slots to other threads sets it."""
        self._levels = [OpenFolder(b"", b"", root, inherits=_has_default_acl(root))]
        self._late: dict[bytes, Entry] = {}  # folders that may be entered again after they were left
        self._mutex = threading.Lock()  # guards the two below, and ``slots`` and ``left`` of each level
        self._lingering: dict[bytes, OpenFolder] = {}  # left, with files in them that are not finished
        self._in_hand: set[bytes] = set()  # paths of slots that were not given back
        self._umask = -1
        self._most_lingering = _lingering_allowed()

    def __enter__(self) -> Self:
        self._umask = os.umask(0)  # every mode below is used unchanged
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self.settle()
                self._leave_to(1)
                self._make_durable()
        finally:
            os.umask(self._umask)
            for level in (*self._levels, *self._lingering.values()):
                os.close(level.handle)
            self._levels = []

    def _make_durable(self) -> None:
        """Makes all durable: only then may anybody be told that it is restored.

        One call for the whole filesystem takes far less time than one for each file.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(self._levels[0].handle) != 0:
            code = ctypes.get_errno()
            raise target_error(OSError(code, os.strerror(code)), self.folder)

    # --- folders -------------------------------------------------------------------------------------------------

    def folder_of(self, path: bytes) -> tuple[int, bytes]:
        """The open handle of the path's directory, and the path's last component.

        Directories on the way that no entry described are made.
        """
        level, name = self._level_of(path)
        return level.handle, name

    def _level_of(self, path: bytes) -> tuple[OpenFolder, bytes]:
        above, _, name = path.rpartition(b"/")
        if above == self._levels[-1].path and path[:1] != b"/":  # most often: the next file of the same folder
            return self._levels[-1], safe_parts(name)[0]
        parts = safe_parts(path)
        shared = 0
        for level, part in zip(self._levels[1:], parts[:-1], strict=False):
            if level.name != part:
                break
            shared += 1
        self._leave_to(shared + 1)
        for depth in range(shared, len(parts) - 1):
            below = b"/".join(parts[: depth + 1])
            self._enter(parts[depth], below, self._late.get(below), described=False)
        return self._levels[-1], parts[-1]

    def add_folder(self, entry: Entry, path: bytes, *, again: bool = False) -> None:
        """The folder of an entry is there and entered. It gets its facts when it is left, after all it contains.

        ``again``: more of it will come later, out of order. Raises :class:`TargetOccupied` when another file has its
        name and may not go.
        """
        self.folder_of(path)
        if again:
            self._late[path] = entry
        self._enter(safe_parts(path)[-1], path, entry, described=True)

    def _enter(self, name: bytes, path: bytes, entry: Entry | None, *, described: bool) -> None:
        if path in self._lingering or path in self._in_hand:
            self.settle()
        parent = self._levels[-1].handle
        made = False
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
            made = True
        except FileExistsError:
            self._make_way(parent, name, path, described=described)
            made = not is_folder(parent, name)
            if made:
                self._call(path, os.mkdir, name, 0o700, dir_fd=parent)
        except OSError as bad:
            raise target_error(bad, self._shown(path)) from bad
        try:
            handle = os.open(name, _DIRECTORY, dir_fd=parent)
        except OSError as bad:
            if bad.errno in (errno.ELOOP, errno.ENOTDIR):
                raise PathEscape(
                    say("{path} is no folder, yet the tree goes on below it", path=one_line(path))
                ) from bad
            raise target_error(bad, self._shown(path)) from bad
        keeps = entry is None or (path in self._fixed and not made)
        level = OpenFolder(name, path, handle, None if keeps else entry, inherits=_has_default_acl(handle))
        self._levels.append(level)
        if not made and not keeps:
            self._open_up(handle, path)

    def _make_way(self, parent: int, name: bytes, path: bytes, *, described: bool) -> None:
        """Removes what has a folder's name, if it may go. A link that the tree itself put there is an attack."""
        if is_folder(parent, name):
            return
        if not described:
            raise PathEscape(
                say("{path} is no folder, yet the tree goes on below it", path=one_line(path)), where=one_line(path)
            )
        if not self._replace:
            raise TargetOccupied(say("{path} exists and is no folder", path=self._shown(path)), where=self._shown(path))
        self._call(path, os.unlink, name, dir_fd=parent)

    def _open_up(self, handle: int, path: bytes) -> None:
        """Lets us into a folder that an earlier attempt has finished, with a mode that shuts us out."""
        mode = modes.S_IMODE(os.fstat(handle).st_mode)
        if mode & 0o700 != 0o700 and os.geteuid() != 0:
            self._call(path, os.fchmod, handle, mode | 0o700)

    def _leave_to(self, count: int) -> None:
        while len(self._levels) > count:
            level = self._levels.pop()
            with self._mutex:
                level.left = True
                if lingers := level.slots > 0:
                    self._lingering[level.path] = level
            if not lingers:
                self._finish(level)
        if len(self._lingering) > self._most_lingering:
            self.settle()

    def _finish(self, level: OpenFolder) -> None:
        try:
            if level.entry is not None:
                apply_facts(level.handle, level.entry, self._watch)
        except OSError as bad:
            raise target_error(bad, self._shown(level.path)) from bad
        finally:
            os.close(level.handle)

    def _give_back(self, slot: Slot) -> None:
        """Ends a slot, and finishes its folder if it was left and this was the last slot in it. From any thread."""
        level = slot.level
        with self._mutex:
            self._in_hand.discard(slot.path)
            level.slots -= 1
            if level.slots or not level.left:
                return
            del self._lingering[level.path]
        self._finish(level)

    # --- files and links -----------------------------------------------------------------------------------------

    def slot(self, path: bytes) -> Slot:
        """A new slot for a file, which any thread may write."""
        if path in self._in_hand:
            self.settle()
        level, _ = self._level_of(path)
        with self._mutex:
            level.slots += 1
            self._in_hand.add(path)
        return Slot(level, path, self.folder, self._give_back)

    def begin_file(self, path: bytes) -> PartialFile:
        """A new, empty file under a temporary name beside ``path``."""
        parent, name = self.folder_of(path)
        partial = partial_name(name)
        forget(parent, partial)
        handle = self._call(path, os.open, partial, NEW_FILE, 0o600, dir_fd=parent)
        return PartialFile(parent, partial, handle, self._shown(path))

    def place(self, path: bytes) -> None:
        """What was made under the temporary name has its own. Raises :class:`TargetOccupied` when a folder has that."""
        parent, name = self.folder_of(path)
        if is_folder(parent, name):
            raise TargetOccupied(
                say("{path} is a folder", path=self._shown(path)), hint="move it away: folders are never removed"
            )
        self._call(path, os.rename, partial_name(name), name, src_dir_fd=parent, dst_dir_fd=parent)

    def add_special(self, entry: Entry, path: bytes) -> None:
        """A symbolic link, fifo, device or socket is there with its facts. A socket works once its program is back."""
        if path in self._in_hand:
            self.settle()
        parent, name = self.folder_of(path)
        partial = partial_name(name)
        forget(parent, partial)
        if entry.kind == EntryKind.SYMLINK:
            self._call(path, os.symlink, entry.target, partial, dir_fd=parent)
        elif entry.kind == EntryKind.FIFO:
            self._call(path, os.mkfifo, partial, 0o600, dir_fd=parent)
        else:
            device = os.makedev(*entry.device)
            self._call(path, os.mknod, partial, _NODES[entry.kind] | 0o600, device, dir_fd=parent)
        try:
            apply_facts((parent, partial), entry, self._watch)
        except OSError as bad:
            raise target_error(bad, self._shown(path)) from bad
        self.place(path)

    def add_link(self, path: bytes, first: bytes) -> None:
        """A hard link to ``first``, which was restored before, is there. Raises :class:`PathEscape` for a folder."""
        if path in self._in_hand or first in self._in_hand:
            self.settle()
        parent, name = self.folder_of(path)
        partial = partial_name(name)
        forget(parent, partial)
        source = self._walk_to(first)
        try:
            first_name = safe_parts(first)[-1]
            if modes.S_ISDIR(os.stat(first_name, dir_fd=source, follow_symlinks=False).st_mode):
                raise PathEscape(say("{path} is a hard link to a folder", path=one_line(path)), where=one_line(path))
            self._call(path, os.link, first_name, partial, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(source)
        self.place(path)
        forget(parent, partial)  # renaming a link onto another link of the same file does nothing, by POSIX

    def stat(self, path: bytes) -> os.stat_result | None:
        """The facts of what is at ``path`` now, None for nothing. A symbolic link is not followed."""
        parent, name = self.folder_of(path)
        try:
            return os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open_existing(self, path: bytes) -> int:
        """A handle to read a file that is there, which the caller closes."""
        parent, name = self.folder_of(path)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return self._call(path, os.open, name, flags, dir_fd=parent)

    def _walk_to(self, path: bytes) -> int:
        handle = os.dup(self._levels[0].handle)
        for part in safe_parts(path)[:-1]:
            try:
                below = os.open(part, _DIRECTORY, dir_fd=handle)
            except OSError as bad:
                raise PathEscape(
                    say("{path}: a hard link's target that was not restored", path=one_line(path))
                ) from bad
            finally:
                os.close(handle)
            handle = below
        return handle

    def _call(self, path: bytes, action: object, /, *words: object, **named: object) -> int:
        assert callable(action)
        try:
            done = action(*words, **named)
        except OSError as bad:
            raise target_error(bad, self._shown(path)) from bad
        return done if isinstance(done, int) else 0

    def _shown(self, path: bytes) -> str:
        return os.path.join(self.folder, one_line(path))


def _has_default_acl(folder: int) -> bool:
    try:
        os.getxattr(folder, _DEFAULT_ACL)
    except OSError:
        return False
    return True


def _lingering_allowed() -> int:
    """The number of folders that may be left but still open, after this process raised its limit of handles.

    It should be high: waiting for such folders stops all reading ahead.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wished = _HANDLES if hard == resource.RLIM_INFINITY else min(hard, _HANDLES)
    if soft != resource.RLIM_INFINITY and soft < wished:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wished, hard))
        soft = wished
    return max((min(soft, _HANDLES) if soft > 0 else _HANDLES) - _OTHER_HANDLES, _OTHER_HANDLES // 4) // 2
