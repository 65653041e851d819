"""Restoring roles: only the missing ones. A role that exists is never altered, whatever the dump says of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_NAME = rb'("(?:[^"]|"")+"|[^\s";]+)'
_CREATE = re.compile(rb"CREATE ROLE " + _NAME + rb";")
_ALTER = re.compile(rb"ALTER ROLE " + _NAME + rb" (?!IN DATABASE)")
_COMMENT = re.compile(rb"COMMENT ON ROLE " + _NAME + rb" IS ")
_GRANT = re.compile(rb"GRANT " + _NAME + rb" TO " + _NAME + rb"[ ;]")
_BY = re.compile(rb" GRANTED BY " + _NAME + rb";$")
# One step through a script: a whole quoted part, a comment or a line of psql's own, the end of a statement.
_STEP = re.compile(
    rb"""(?P<alone>--[^\n]*\n?|\\[^\n]*\n?)|(?P<end>;)|\bE'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|.""",
    re.DOTALL,
)


def missing_roles(globals_script: bytes, existing: Iterable[str]) -> tuple[bytes, tuple[str, ...]]:
    """The lines of ``globals.sql`` that create the missing roles, and the names of those roles.

    Memberships are granted to new roles only. Tablespaces are not created: their folders belong to the server's
    administrator.
    """
    known = set(existing)
    kept: list[bytes] = []
    new: list[str] = []
    for statement in _statements(globals_script):
        if found := _CREATE.fullmatch(statement):
            name = _plain(found[1])
            if name not in known:
                new.append(name)
                kept.append(statement)
        elif found := _ALTER.match(statement) or _COMMENT.match(statement):
            if _plain(found[1]) in new:
                kept.append(statement)
        elif (found := _GRANT.match(statement)) and _plain(found[2]) in new:
            # The grantor may be a role that has other rights here; whoever restores is the grantor.
            kept.append(_BY.sub(b";", statement))
    return b"".join(statement + b"\n" for statement in kept), tuple(new)


def _statements(script: bytes) -> Iterator[bytes]:
    """The SQL statements, without comments and psql's own lines.

    Not line by line: any role may set a text of several lines for itself, one of which could read ``ALTER ROLE me
    SUPERUSER;``. What is quoted stays inside its statement.
    """
    gathered = bytearray()
    for step in _STEP.finditer(script):
        if step.lastgroup == "alone" and not gathered.strip():
            gathered.clear()
        elif step.lastgroup != "alone":
            gathered += step[0]
        if step.lastgroup == "end":
            yield bytes(gathered.strip())
            gathered.clear()


def _plain(name: bytes) -> str:
    text = name.decode("utf-8", "surrogateescape")
    return text[1:-1].replace('""', '"') if text.startswith('"') else text
