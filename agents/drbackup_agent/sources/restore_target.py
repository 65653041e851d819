"""A folder that is being restored into, and the only hands that write there.

Nothing is ever reached by a path: every step opens the next directory without following symbolic links, so whatever a
tree or the target itself says, no byte lands outside. A thing is made under a temporary name in its own directory,
given its facts, and renamed when it is complete; a crash leaves temporary names that the next attempt replaces.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat as modes
from types import TracebackType
from typing import Self

from blake3 import blake3

from drbackup.errors import DrbackupError, HostUnsuitable, PathEscape, RestoreMismatch, TargetFull, TargetOccupied
from drbackup.vault.tree import Entry, EntryKind
from drbackup_agent.sources.base import Watch, shown
from drbackup_agent.sources.restore_facts import apply_facts

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
PARTIAL = b".drbackup-part-"
_NODES = {EntryKind.CHAR: modes.S_IFCHR, EntryKind.BLOCK: modes.S_IFBLK, EntryKind.SOCKET: modes.S_IFSOCK}
_FULL = (errno.ENOSPC, errno.EDQUOT)


def safe_parts(path: bytes) -> list[bytes]:
    """The components of a stored path. Raises :class:`PathEscape` for anything that could lead elsewhere."""
    parts = path.split(b"/")
    if not path or b"\0" in path or any(part in (b"", b".", b"..") or len(part) > 255 for part in parts):
        raise PathEscape(f"the tree holds the name {shown(path)!r}", where=shown(path))
    return parts


def require_possible(entry: Entry) -> None:
    """Raises :class:`RestoreMismatch` for facts that no file can have: the tree was not made by an honest agent."""
    sizes = (entry.size, *(number for hole in entry.holes for number in hole))
    possible = (
        all(0 <= number < 1 << 63 for number in sizes)
        and all(-(1 << 63) <= time < 1 << 63 for time in (entry.mtime_ns, entry.atime_ns))
        and 0 <= entry.mode <= 0o7777
        and all(0 <= number < (1 << 32) - 1 for number in (entry.uid, entry.gid))  # the last means "leave it"
        and all(0 <= number < 1 << 20 for number in entry.device)
        and all(name and b"\0" not in name for name, _ in entry.xattrs)
        and b"\0" not in entry.target
        and "\0" not in entry.user + entry.group
    )
    if not possible:
        raise RestoreMismatch(f"{shown(entry.path)}: no file can have the facts the tree gives it")


class Target:
    """An open target folder. Enter paths in tree order; leaving it finishes every folder still open.

    ``fixed``: folders (as tree paths) that were there before us and keep their own facts when they exist.
    """

    def __init__(self, folder: str, watch: Watch, *, replace: bool, fixed: frozenset[bytes] = frozenset()) -> None:
        self.folder = folder
        self._watch = watch
        self._replace = replace
        self._fixed = fixed
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            root = os.open(folder, _DIRECTORY & ~os.O_NOFOLLOW)
        except OSError as bad:
            raise target_error(bad, folder) from bad
        # (name, handle, its entry or None when it keeps its facts)
        self._levels: list[tuple[bytes, int, Entry | None]] = [(b"", root, None)]
        self._late: dict[bytes, Entry] = {}  # folders that may be entered again after they were left

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._leave_to(1)
                self._make_durable()
        finally:
            for _, handle, _ in self._levels:
                os.close(handle)
            self._levels = []

    def _make_durable(self) -> None:
        """Only now may anybody be told that it is restored: a power cut must not take it back. One call for the whole
        filesystem costs far less than one for each file."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(self._levels[0][1]) != 0:
            code = ctypes.get_errno()
            raise target_error(OSError(code, os.strerror(code)), self.folder)

    # --- folders -------------------------------------------------------------------------------------------------

    def folder_of(self, path: bytes) -> tuple[int, bytes]:
        """(open handle of the path's directory, its last component), making directories that no entry described."""
        parts = safe_parts(path)
        shared = 0
        for (name, _, _), part in zip(self._levels[1:], parts[:-1], strict=False):
            if name != part:
                break
            shared += 1
        self._leave_to(shared + 1)
        for depth in range(shared, len(parts) - 1):
            below = b"/".join(parts[: depth + 1])
            self._enter(parts[depth], below, self._late.get(below), described=False)
        return self._levels[-1][1], parts[-1]

    def add_folder(self, entry: Entry, path: bytes, *, again: bool = False) -> None:
        """Make or enter the folder of an entry; its facts are applied when it is left, after all it contains.
        ``again``: more of it will come later, out of order."""
        self.folder_of(path)
        if again:
            self._late[path] = entry
        self._enter(safe_parts(path)[-1], path, entry, described=True)

    def _enter(self, name: bytes, path: bytes, entry: Entry | None, *, described: bool) -> None:
        parent = self._levels[-1][1]
        made = False
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
            made = True
        except FileExistsError:
            self._make_way(parent, name, path, described=described)
            made = not _is_folder(parent, name)
            if made:
                self._call(path, os.mkdir, name, 0o700, dir_fd=parent)
        except OSError as bad:
            raise target_error(bad, self._shown(path)) from bad
        try:
            handle = os.open(name, _DIRECTORY, dir_fd=parent)
        except OSError as bad:
            if bad.errno in (errno.ELOOP, errno.ENOTDIR):
                raise PathEscape(f"{shown(path)} is no folder, yet the tree goes on below it") from bad
            raise target_error(bad, self._shown(path)) from bad
        keeps = entry is None or (path in self._fixed and not made)
        self._levels.append((name, handle, None if keeps else entry))
        if not made and not keeps:
            self._open_up(handle, path)

    def _make_way(self, parent: int, name: bytes, path: bytes, *, described: bool) -> None:
        """What stands where a folder belongs goes, if it may. A link that the tree itself put there is an attack."""
        if _is_folder(parent, name):
            return
        if not described:
            raise PathEscape(f"{shown(path)} is no folder, yet the tree goes on below it", where=shown(path))
        if not self._replace:
            raise TargetOccupied(f"{self._shown(path)} exists and is no folder", where=self._shown(path))
        self._call(path, os.unlink, name, dir_fd=parent)

    def _open_up(self, handle: int, path: bytes) -> None:
        """An earlier attempt may have finished this folder already, with a mode that keeps us out."""
        mode = modes.S_IMODE(os.fstat(handle).st_mode)
        if mode & 0o700 != 0o700 and os.geteuid() != 0:
            self._call(path, os.fchmod, handle, mode | 0o700)

    def _leave_to(self, count: int) -> None:
        while len(self._levels) > count:
            _, handle, entry = self._levels[-1]
            try:
                if entry is not None:
                    apply_facts(handle, entry, self._watch)
            except OSError as bad:
                raise target_error(bad, self.folder) from bad
            self._levels.pop()
            os.close(handle)

    # --- things --------------------------------------------------------------------------------------------------

    def begin_file(self, path: bytes) -> PartialFile:
        """A new file under a temporary name beside ``path``."""
        parent, name = self.folder_of(path)
        partial = partial_name(name)
        _forget(parent, partial)
        handle = self._call(path, os.open, partial, _NEW_FILE, 0o600, dir_fd=parent)
        return PartialFile(self, path, handle)

    def place(self, path: bytes) -> None:
        """Give what was made under the temporary name its own name."""
        parent, name = self.folder_of(path)
        if _is_folder(parent, name):
            raise TargetOccupied(f"{self._shown(path)} is a folder", hint="move it away: folders are never removed")
        self._call(path, os.rename, partial_name(name), name, src_dir_fd=parent, dst_dir_fd=parent)

    def add_special(self, entry: Entry, path: bytes) -> None:
        """A symbolic link, fifo, device, or the name of a socket that its program will make again."""
        parent, name = self.folder_of(path)
        partial = partial_name(name)
        _forget(parent, partial)
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
        """A hard link to a path that was restored before."""
        parent, name = self.folder_of(path)
        partial = partial_name(name)
        _forget(parent, partial)
        source = self._walk_to(first)
        try:
            first_name = safe_parts(first)[-1]
            if modes.S_ISDIR(os.stat(first_name, dir_fd=source, follow_symlinks=False).st_mode):
                raise PathEscape(f"{shown(path)} is a hard link to a folder", where=shown(path))
            self._call(path, os.link, first_name, partial, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(source)
        self.place(path)
        _forget(parent, partial)  # renaming a link onto another link of the same file does nothing, by POSIX

    def stat(self, path: bytes) -> os.stat_result | None:
        """Facts of what is there now, not followed."""
        parent, name = self.folder_of(path)
        try:
            return os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open_existing(self, path: bytes) -> int:
        """A handle to read a regular file back; the caller closes it."""
        parent, name = self.folder_of(path)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return self._call(path, os.open, name, flags, dir_fd=parent)

    def _walk_to(self, path: bytes) -> int:
        handle = os.dup(self._levels[0][1])
        for part in safe_parts(path)[:-1]:
            try:
                below = os.open(part, _DIRECTORY, dir_fd=handle)
            except OSError as bad:
                raise PathEscape(f"{shown(path)}: a hard link's target that was not restored") from bad
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
        return os.path.join(self.folder, shown(path))


class PartialFile:
    """A file being written. Leaving its ``with`` block by an exception removes it."""

    def __init__(self, target: Target, path: bytes, handle: int) -> None:
        self._target = target
        self._path = path
        self.handle = handle

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self.handle)
        if kind is not None:
            parent, name = self._target.folder_of(self._path)
            _forget(parent, partial_name(name))

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """All of ``data`` at ``offset``."""
        left = memoryview(data)
        while left:
            try:
                done = os.pwrite(self.handle, left, offset)
            except OSError as bad:
                raise target_error(bad, os.path.join(self._target.folder, shown(self._path))) from bad
            left, offset = left[done:], offset + done

    def resize(self, size: int) -> None:
        """Set the length, so that a hole at the end is there."""
        try:
            os.ftruncate(self.handle, size)
        except OSError as bad:
            raise target_error(bad, os.path.join(self._target.folder, shown(self._path))) from bad


def partial_name(name: bytes) -> bytes:
    """The temporary name beside ``name``; the same on every attempt, so that a crash leaves at most one."""
    return PARTIAL + blake3(name).hexdigest(length=8).encode()


def target_error(bad: OSError, where: str) -> DrbackupError:
    """The error class of what the target's filesystem said."""
    if bad.errno in _FULL:
        return TargetFull(f"no room to restore {where}", where=where)
    return HostUnsuitable(
        f"{where}: {bad.strerror}",
        where=where,
        safe="what was at the target before is still there",
        hint="mend it and run the same command again",
    )


def _is_folder(parent: int, name: bytes) -> bool:
    try:
        return modes.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _forget(parent: int, name: bytes) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return
