"""Bringing roles back: the missing ones only. A role that exists is never altered, whatever the dump says of it."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NAME = rb'("(?:[^"]|"")+"|[^\s";]+)'
_CREATE = re.compile(rb"CREATE ROLE " + _NAME + rb";\n?")
_ALTER = re.compile(rb"ALTER ROLE " + _NAME + rb" (?!IN DATABASE)")
_COMMENT = re.compile(rb"COMMENT ON ROLE " + _NAME + rb" IS ")
_GRANT = re.compile(rb"GRANT " + _NAME + rb" TO " + _NAME + rb"[ ;]")
_BY = re.compile(rb" GRANTED BY " + _NAME + rb";")


def missing_roles(globals_script: bytes, existing: Iterable[str]) -> tuple[bytes, tuple[str, ...]]:
    """(the lines of ``globals.sql`` that create what is missing, the names of the roles they create).

    Memberships are granted to new roles only. Tablespaces are not created: their folders belong to the server's
    administrator.
    """
    known = set(existing)
    kept: list[bytes] = []
    new: list[str] = []
    for line in globals_script.splitlines(keepends=True):
        if found := _CREATE.fullmatch(line):
            name = _plain(found[1])
            if name not in known:
                new.append(name)
                kept.append(line)
        elif found := _ALTER.match(line) or _COMMENT.match(line):
            if _plain(found[1]) in new:
                kept.append(line)
        elif (found := _GRANT.match(line)) and _plain(found[2]) in new:
            # The grantor may be a role that has other rights here; whoever restores is the grantor.
            kept.append(_BY.sub(b";", line))
    return b"".join(kept), tuple(new)


def _plain(name: bytes) -> str:
    text = name.decode("utf-8", "surrogateescape")
    return text[1:-1].replace('""', '"') if text.startswith('"') else text
