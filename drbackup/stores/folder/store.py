"""Objects as files of one folder tree: a second disk, a NAS mount, a removable drive.

Owns the order of system calls that makes "stored" mean "survives a power cut". The bytes go into a hidden file of the
same folder, then fsync. A hard link gives it the name and fails if the name is taken, then fsync of the folder.

Refuses to follow symbolic links below the root. Hidden files are never objects. A crash may leave ``.tmp-…`` behind,
which :meth:`DirectoryStore.sweep_leftovers` removes. ``.damaged-…`` are the damaged bytes of repaired objects, kept
until a person has looked at them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from drbackup.errors import ObjectCorrupt, ObjectExists, ObjectMissing, StoreUnavailable, say
from drbackup.stores.base import SignedPut, Stat, digest_in_name, require_match, require_name, require_prefix
from drbackup.stores.folder.syscalls import (
    hash_whole,
    read_range,
    same_bytes,
    set_aside,
    store_error,
    write_beside_cache,
)
from drbackup.system.durable import link_new

TEMPORARY = ".tmp-"
DAMAGED_PREFIX = ".damaged-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK: a planted fifo must not hang us
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class DirectoryStore:
    """A store below the folder ``path``, which the first :meth:`put` makes.

    It is made only below ``within``, by default its parent. Where ``within`` is missing, a disk is not mounted, and
    every method raises StoreUnavailable.
    """

    kind: ClassVar[str] = "directory"

    def __init__(self, name: str, path: str | os.PathLike[str], within: str | os.PathLike[str] | None = None) -> None:
        self.name = name
        self.path = Path(path)
        self.within = self.path.parent if within is None else Path(within)
        self._durable: set[str] = set()  # folders whose entry in their parent this process has synced

    def put(self, name: str, data: bytes | memoryview) -> None:
        """A durable object, create-once. Raises ObjectExists, StoreFull, StoreUnavailable, StoreRefused."""
        *parents, leaf = require_name(name).split("/")
        try:
            with self._faults(name), self._make_folder(parents, name) as folder:
                if not self._settled(folder, leaf, name, data):
                    self._create(folder, leaf, name, data)
                # Only now is the name durable. A crash before this line leaves no object or a whole one, never a part.
                # On a retry of the same bytes it also makes a name durable whose first writer died before its fsync.
                os.fsync(folder)
        except FileNotFoundError as gone:
            self._durable.clear()  # what we made is not there any more: the disk was taken away or changed
            raise StoreUnavailable(
                say("store {store}: its folders vanished under {name}", store=self.name, name=name), where=name
            ) from gone

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """The bytes ``[offset, offset+length)``; to the end when ``length`` is None.

        Raises ObjectMissing, ObjectCorrupt, StoreUnavailable, StoreRefused.
        """
        *parents, leaf = require_name(name).split("/")
        try:
            with self._faults(name), self._folder(parents) as folder, _opened(leaf, _FILE, folder) as file:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    raise ObjectMissing(
                        say("{name} is no object in store {store}", name=name, store=self.name), where=name
                    )
                data = read_range(file, offset, length, name)
        except FileNotFoundError:
            raise ObjectMissing(
                say("store {store} has no object {name}", store=self.name, name=name), where=name
            ) from None
        promised = digest_in_name(name) if offset == 0 and length is None else None
        if promised is not None and hashlib.sha256(data).digest() != promised:
            raise ObjectCorrupt(
                say("the bytes of {name} in store {store} do not match its name", name=name, store=self.name),
                where=name,
            )
        return data

    def check(self, name: str) -> int:
        """The size in bytes of an object that was read back and matches its name.

        Raises ObjectMissing, ObjectCorrupt, StoreUnavailable, StoreRefused.
        """
        *parents, leaf = require_name(name).split("/")
        try:
            with self._faults(name), self._folder(parents) as folder:
                if not stat.S_ISREG(os.stat(leaf, dir_fd=folder, follow_symlinks=False).st_mode):
                    raise ObjectMissing(
                        say("{name} is no object in store {store}", name=name, store=self.name), where=name
                    )
                with _opened(leaf, _FILE, folder) as file:
                    size, digest = _hashed(file, self.name, name)
        except FileNotFoundError:
            raise ObjectMissing(
                say("store {store} has no object {name}", store=self.name, name=name), where=name
            ) from None
        if digest_in_name(name) not in (None, digest):
            raise ObjectCorrupt(
                say("the bytes of {name} in store {store} do not match its name", name=name, store=self.name),
                where=name,
            )
        return size

    def repair(self, name: str, data: bytes | memoryview) -> None:
        """A whole object: ``name`` gives back ``data`` again. Obligations: see :class:`drbackup.stores.base.Store`.

        First the good bytes are durable under a hidden name. Then what lay there is durable under another hidden name.
        Then one rename gives the good bytes the name. A crash leaves the name with the old bytes or the new. Raises
        ObjectCorrupt when the name promises other bytes than ``data``.
        """
        require_match(name, data)
        *parents, leaf = require_name(name).split("/")
        with self._faults(name), self._make_folder(parents, name) as folder:
            if not _holds(folder, leaf, data):
                temporary = _write_hidden(folder, data)
                try:
                    set_aside(leaf, f"{DAMAGED_PREFIX}{secrets.token_hex(4)}-{leaf[:200]}", folder)
                    os.replace(temporary, leaf, src_dir_fd=folder, dst_dir_fd=folder)
                finally:
                    with contextlib.suppress(FileNotFoundError):  # gone when it was given the name
                        os.unlink(temporary, dir_fd=folder)
            os.fsync(folder)

    def stat(self, name: str) -> Stat | None:
        """The size and time of one object, None when there is none."""
        *parents, leaf = require_name(name).split("/")
        try:
            with self._faults(name), self._folder(parents) as folder:
                found = os.stat(leaf, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return _stat(name, found) if stat.S_ISREG(found.st_mode) else None

    def list(self, prefix: str) -> Iterator[Stat]:
        """Every object whose name starts with ``prefix``. Hidden files, symbolic links and special files are left out.

        Raises StoreUnavailable when the disk is not mounted.
        """
        *parents, start = require_prefix(prefix).split("/")
        above = "".join(f"{part}/" for part in parents)
        with contextlib.ExitStack() as stack, self._faults(prefix):
            try:
                folder = stack.enter_context(self._folder(parents))
            except FileNotFoundError:
                self._require_mounted()
                return
            # Not inside the "try": a folder that vanishes further down must never end a list early without an error.
            yield from _walk(folder, above, start)

    def sign_put(self, name: str, size: int, sha256: bytes) -> SignedPut | None:
        """None: a folder can't sign, so the bytes go over the wire."""
        return None

    def sign_get(self, name: str) -> str | None:
        """None: a folder can't sign."""
        return None

    def sweep_leftovers(self, older_seconds: float = 86_400.0) -> int:
        """The number of ``.tmp-…`` files removed: those that were last written more than ``older_seconds`` ago.

        They are not objects, but were left behind by writers that died. The age keeps the files of living writers.
        """
        before, gone = time.time() - older_seconds, 0
        with self._faults("leftover files"):
            for _, _, files, folder in os.fwalk(self.path):
                for file in filter(_is_temporary, files):
                    with contextlib.suppress(FileNotFoundError):  # its writer was alive and has just finished
                        if os.stat(file, dir_fd=folder, follow_symlinks=False).st_mtime < before:
                            os.unlink(file, dir_fd=folder)
                            gone += 1
        return gone

    def _settled(self, folder: int, leaf: str, name: str, data: bytes | memoryview) -> bool:
        """Whether ``name`` holds exactly ``data`` already. Raises ObjectExists when it holds anything else."""
        try:
            with _opened(leaf, _FILE, folder) as file:
                if stat.S_ISREG(os.fstat(file).st_mode) and same_bytes(file, data):
                    return True
        except FileNotFoundError:
            return False
        raise ObjectExists(
            say("{name} exists in store {store} with other bytes", name=name, store=self.name), where=name
        )

    def _create(self, folder: int, leaf: str, name: str, data: bytes | memoryview) -> None:
        temporary = _write_hidden(folder, data)
        try:
            try:
                link_new(temporary, leaf, folder)
            except FileExistsError:
                # Another writer was faster, after we looked. Its bytes were synced before its link, so comparing them
                # is enough to know whether our promise holds too.
                self._settled(folder, leaf, name, data)
        finally:
            with contextlib.suppress(FileNotFoundError):  # gone when the name was taken by renaming
                os.unlink(temporary, dir_fd=folder)

    @contextlib.contextmanager
    def _folder(self, parents: Sequence[str]) -> Iterator[int]:
        """An open descriptor of a folder below the root, reached without following any symbolic link."""
        with contextlib.ExitStack() as stack:
            current = stack.enter_context(_opened(self.path, _FOLDER & ~os.O_NOFOLLOW, None))
            for part in parents:
                if _is_object(part, current):
                    raise FileNotFoundError(errno.ENOENT, "a name above it is an object", part)
                current = stack.enter_context(_opened(part, _FOLDER, current))
            yield current

    @contextlib.contextmanager
    def _make_folder(self, parents: Sequence[str], name: str) -> Iterator[int]:
        """An open descriptor as of :meth:`_folder`, but missing folders are made.

        Every folder's entry in its parent is synced once per process. Another process may have made the folder a moment
        ago and died before its own sync.
        """
        self._make_root()
        with contextlib.ExitStack() as stack:
            current = stack.enter_context(_opened(self.path, _FOLDER & ~os.O_NOFOLLOW, None))
            reached = ""
            for part in parents:
                reached += f"{part}/"
                if reached not in self._durable:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, 0o750, dir_fd=current)
                    os.fsync(current)
                    self._durable.add(reached)
                if _is_object(part, current):
                    raise ObjectExists(
                        say(
                            "store {store}: {reached} is an object, so {name} can't be",
                            store=self.name,
                            reached=reached[:-1],
                            name=name,
                        ),
                        where=name,
                    )
                current = stack.enter_context(_opened(part, _FOLDER, current))
            yield current

    def _require_mounted(self) -> None:
        if not self.path.is_dir() and not self.within.is_dir():
            raise StoreUnavailable(
                say("store {store}: {path} is not there; is its disk mounted?", store=self.name, path=self.path)
            )

    def _make_root(self) -> None:
        if self.path.is_dir():
            return
        self._require_mounted()
        steps = [self.path, *self.path.parents]
        for folder in reversed(steps[: steps.index(self.within)]):
            with contextlib.suppress(FileExistsError):
                folder.mkdir(0o750)
            with _opened(folder.parent, _FOLDER & ~os.O_NOFOLLOW, None) as parent:
                os.fsync(parent)

    @contextlib.contextmanager
    def _faults(self, name: str) -> Iterator[None]:
        """The system's errors as ours; a missing file stays FileNotFoundError for the caller to judge."""
        try:
            yield
        except FileNotFoundError:
            self._require_mounted()
            raise
        except OSError as fault:
            raise store_error(fault, self.name, name) from fault


@contextlib.contextmanager
def _opened(path: str | Path, flags: int, folder: int | None) -> Iterator[int]:
    descriptor = os.open(path, flags, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_hidden(folder: int, data: bytes | memoryview) -> str:
    """The name of a new hidden file of ``folder`` that durably holds ``data``.

    Not by :mod:`drbackup.system.durable`: packs go past the page cache and are read-only, and a killed writer's files
    have a prefix that :meth:`DirectoryStore.sweep_leftovers` knows.
    """
    temporary = f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"
    file = os.open(temporary, _NEW, 0o600, dir_fd=folder)
    try:
        write_beside_cache(file, temporary, folder, data)
        os.fchmod(file, 0o444)
        os.fsync(file)
    except BaseException:
        os.unlink(temporary, dir_fd=folder)
        raise
    finally:
        os.close(file)
    return temporary


def _holds(folder: int, leaf: str, data: bytes | memoryview) -> bool:
    """Whether the file ``leaf`` has exactly these bytes; not so for one that can't be read."""
    try:
        if not stat.S_ISREG(os.stat(leaf, dir_fd=folder, follow_symlinks=False).st_mode):
            return False
        with _opened(leaf, _FILE, folder) as file:
            return same_bytes(file, data)
    except FileNotFoundError:
        return False
    except OSError as fault:
        if fault.errno != errno.EIO:
            raise
        return False


def _hashed(file: int, store: str, name: str) -> tuple[int, bytes]:
    try:
        return hash_whole(file)
    except OSError as fault:
        if fault.errno != errno.EIO:
            raise
        # The folder and the file could be opened, so the disk is there: this object lies on bad sectors.
        raise ObjectCorrupt(
            say("{name} in store {store} can't be read: {why}", name=name, store=store, why=fault.strerror), where=name
        ) from fault


def _is_object(part: str, folder: int) -> bool:
    return stat.S_ISREG(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode)


def _is_temporary(file: str) -> bool:
    return file.startswith(TEMPORARY)


def _walk(folder: int, above: str, start: str) -> Iterator[Stat]:
    with os.scandir(folder) as found:
        entries = sorted((entry for entry in found if entry.name.startswith(start)), key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_file(follow_symlinks=False):
            with contextlib.suppress(FileNotFoundError):  # collected since the folder was read
                yield _stat(above + entry.name, os.stat(entry.name, dir_fd=folder, follow_symlinks=False))
        elif entry.is_dir(follow_symlinks=False):
            with _opened(entry.name, _FOLDER, folder) as below:
                yield from _walk(below, f"{above}{entry.name}/", "")


def _stat(name: str, found: os.stat_result) -> Stat:
    return Stat(name, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))
