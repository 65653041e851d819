"""Entries of a tree from what the kernel says of a path: mode, owner, times, extended attributes."""

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
    """The entry of a path, without the fields that only some kinds have, such as a link's target.

    ``kept`` is the row of an unchanged file, which gives the content.
    """
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
    """The (name, value) pairs of all extended attributes, ACLs among them, sorted by name.

    ``where`` is an open handle, or a path whose last symbolic link is not followed. None where the filesystem has no
    attributes or the path is gone; raises ``OSError`` otherwise.
    """
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
