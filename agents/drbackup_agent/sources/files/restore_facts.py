"""Owner, mode, extended attributes, ACLs and times of restored files, folders and links.

The order matters. The owner comes first, because a change of owner clears set-uid bits and capabilities. Then come the
mode, the attributes (an ACL sets the group bits) and, last, the times, which all others would change.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from functools import lru_cache

from drbackup.system.console import one_line
from drbackup.vault.tree import Entry, EntryKind
from drbackup_agent.sources.base import Watch

_ACLS = ("system.posix_acl_access", "system.posix_acl_default")
_REFUSED = (errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.EINVAL)
Place = int | tuple[int, bytes]  # an open handle, or (handle of the directory, name) that is not followed


def apply_facts(place: Place, entry: Entry, watch: Watch) -> None:
    """Owner, mode, attributes and times are as the entry says. A note tells what this account or filesystem can't do.

    Raises ``OSError`` only for what must work.
    """
    owned = _give(place, entry)
    if not owned:
        watch.note("owners were not set: the agent does not run as root here")
    if entry.kind != EntryKind.SYMLINK:
        # Without the right owner a set-uid program would become a set-uid program of somebody else.
        mode = entry.mode if owned else entry.mode & 0o1777
        if isinstance(place, int):
            os.fchmod(place, mode)
        else:
            _change_mode(place, mode)
    _set_xattrs(place, entry, watch)
    times = (entry.atime_ns, entry.mtime_ns)
    if isinstance(place, int):
        os.utime(place, ns=times)
    else:
        os.utime(place[1], ns=times, dir_fd=place[0], follow_symlinks=False)


def apply_file_facts(handle: int, entry: Entry, watch: Watch, *, inherits: bool) -> os.stat_result:
    """The file's facts as they are afterwards. It is for a new regular file that nobody else can have opened.

    It does as :func:`apply_facts` with fewer system calls, because most files are created with the right owner and
    mode. ``inherits``: its folder gives it an ACL. Raises ``OSError``.
    """
    found = os.fstat(handle)
    ids = owner_here(entry)
    owned = (found.st_uid, found.st_gid) == ids
    fits = owned and not inherits and stat.S_IMODE(found.st_mode) == entry.mode
    if not owned and os.geteuid() == 0:
        os.fchown(handle, *ids)
        owned = True
    if not owned:
        watch.note("owners were not set: the agent does not run as root here")
    if not fits:
        os.fchmod(handle, entry.mode if owned else entry.mode & 0o1777)
    if inherits or entry.xattrs:
        _set_xattrs(handle, entry, watch)
    os.utime(handle, ns=(entry.atime_ns, entry.mtime_ns))
    return os.fstat(handle)


def first_mode(entry: Entry) -> int:
    """The mode to create a file with: its own if its owner will not change, else 0600."""
    return entry.mode & 0o777 if owner_here(entry) == (os.geteuid(), os.getegid()) else 0o600


def _change_mode(place: tuple[int, bytes], mode: int) -> None:
    """Changes the mode by handle. By name it would follow a link that somebody may have put there by now."""
    handle = os.open(place[1], os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place[0])
    try:
        os.chmod(f"/proc/self/fd/{handle}", mode)
    finally:
        os.close(handle)


def _give(place: Place, entry: Entry) -> bool:
    uid, gid = owner_here(entry)
    if os.geteuid() != 0:
        return (uid, gid) == (os.geteuid(), os.getegid())
    if isinstance(place, int):
        os.fchown(place, uid, gid)
    else:
        os.chown(place[1], uid, gid, dir_fd=place[0], follow_symlinks=False)
    return True


def owner_here(entry: Entry) -> tuple[int, int]:
    """The owner (uid, gid) on this host: by name where the name exists here, else by number."""
    return _ids(entry.uid, entry.gid, entry.user, entry.group)


@lru_cache(maxsize=4096)
def _ids(uid: int, gid: int, user: str, group: str) -> tuple[int, int]:
    by_name = _uid(user), _gid(group)
    return uid if by_name[0] is None else by_name[0], gid if by_name[1] is None else by_name[1]


def _set_xattrs(place: Place, entry: Entry, watch: Watch) -> None:
    where: int | bytes = place if isinstance(place, int) else b"/proc/self/fd/%d/%s" % place
    follow = isinstance(place, int)
    wanted = {os.fsdecode(name) for name, _ in entry.xattrs}
    if entry.kind != EntryKind.SYMLINK:
        for name in _ACLS:
            if name not in wanted:
                _drop(where, name, follow)  # inherited from the target folder's default ACL
    for raw, value in entry.xattrs:
        name = os.fsdecode(raw)
        try:
            os.setxattr(where, name, value, follow_symlinks=follow)
        except OSError as bad:
            if bad.errno not in _REFUSED:
                raise
            watch.note(f"{one_line(entry.path)}: the attribute {name} could not be set: {bad.strerror}")


def _drop(where: int | bytes, name: str, follow: bool) -> None:
    try:
        os.removexattr(where, name, follow_symlinks=follow)
    except OSError as bad:
        if bad.errno not in (errno.ENODATA, *_REFUSED):
            raise


def _uid(user: str) -> int | None:
    try:
        return pwd.getpwnam(user).pw_uid if user else None
    except KeyError:
        return None


def _gid(group: str) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid if group else None
    except KeyError:
        return None
