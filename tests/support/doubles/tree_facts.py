"""Everything about a directory tree that a copy must keep, as plain data to compare."""

from __future__ import annotations

import os
import stat
from pathlib import Path

Facts = dict[bytes, tuple[object, ...]]


def tree_facts(root: Path, *, times: bool = True) -> Facts:
    """Path → kind, mode, owner, mtime, content or target, xattrs, device, number of blocks that are not holes."""
    found: Facts = {}
    links: dict[int, list[bytes]] = {}
    pending = [os.fsencode(root)]
    while pending:
        folder = pending.pop()
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, os.fsencode(root))
            facts = os.lstat(path)
            found[relative] = _facts(path, facts, times=times)
            if stat.S_ISDIR(facts.st_mode):
                pending.append(path)
            elif facts.st_nlink > 1:
                links.setdefault(facts.st_ino, []).append(relative)
    for names in links.values():
        for name in names:
            found[name] += (tuple(sorted(names)),)
    return found


def _facts(path: bytes, facts: os.stat_result, *, times: bool) -> tuple[object, ...]:
    inside: object = None
    if stat.S_ISREG(facts.st_mode):
        with open(path, "rb") as file:
            inside = file.read()
    elif stat.S_ISLNK(facts.st_mode):
        inside = os.readlink(path)
    elif stat.S_ISBLK(facts.st_mode) or stat.S_ISCHR(facts.st_mode):
        inside = facts.st_rdev
    xattrs = tuple(
        (name, os.getxattr(path, name, follow_symlinks=False))
        for name in sorted(os.listxattr(path, follow_symlinks=False))
    )
    when = facts.st_mtime_ns if times else 0
    return (stat.filemode(facts.st_mode), facts.st_uid, facts.st_gid, when, inside, xattrs)
