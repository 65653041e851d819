"""Owner, mode, extended attributes, ACLs and times of restored things.

Order matters: a change of owner clears set-uid bits and capabilities, so owner goes first, then mode, then attributes
(an ACL carries the group bits), then times, which all of the others would touch.
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
    """Make a restored thing be what its entry says. What this account or filesystem can't do is noted, not hidden.

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
    """The same for a new regular file that only we know, with as few calls as may do: most files already have the
    owner and mode they were created with. ``inherits``: its folder gives it an ACL. The file's facts afterwards."""
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
    """The mode to create a file with: its own when no change of owner will follow, else nobody's but ours."""
    return entry.mode & 0o777 if owner_here(entry) == (os.geteuid(), os.getegid()) else 0o600


def _change_mode(place: tuple[int, bytes], mode: int) -> None:
    """By handle: chmod by name follows a link that somebody who may write to the folder could have put there by now."""
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
    """(uid, gid) on this host: by name where the name exists here, else by number."""
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
