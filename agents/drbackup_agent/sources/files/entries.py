"""A tree's entry from what the kernel says of a path: mode, owner, times, extended attributes."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat as modes
from functools import lru_cache

from drbackup.vault.tree import Entry, EntryKind
from drbackup_agent.sources.files.cache import Row

Xattrs = tuple[tuple[bytes, bytes], ...]


def entry_of(path: bytes, kind: EntryKind, stat: os.stat_result, xattrs: Xattrs, kept: Row | None = None) -> Entry:
    """The entry of a path without what only its kind has. ``kept``: a file's row, whose content is still the file's."""
    return Entry(
        path=path,
        kind=kind,
        mode=modes.S_IMODE(stat.st_mode),
        uid=stat.st_uid,
        gid=stat.st_gid,
        user=_user(stat.st_uid),
        group=_group(stat.st_gid),
        mtime_ns=stat.st_mtime_ns,
        atime_ns=stat.st_atime_ns,
        size=stat.st_size if kept else 0,
        xattrs=xattrs,
        digest=kept.digest if kept else b"",
        extents=kept.extents if kept else (),
        holes=kept.holes if kept else (),
    )


@lru_cache(maxsize=4096)
def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


@lru_cache(maxsize=4096)
def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""


def read_xattrs(where: int | bytes) -> Xattrs:
    """Extended attributes, ACLs among them, sorted; of an open file or of a path that is not followed."""
    follow = isinstance(where, int)
    try:
        names = os.listxattr(where, follow_symlinks=follow)
    except OSError as bad:
        if bad.errno in (errno.ENOTSUP, errno.ENOSYS, errno.ENOENT):
            return ()
        raise
    if not names:
        return ()
    found = []
    for name in sorted(names):
        try:
            found.append((os.fsencode(name), os.getxattr(where, name, follow_symlinks=follow)))
        except OSError as bad:
            if bad.errno != errno.ENODATA:  # removed since it was listed
                raise
    return tuple(found)
