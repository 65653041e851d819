"""Every kind of source this agent knows, in one list.

A new kind is its package or module beside this one, a line in :data:`SOURCE_KINDS`, and the controller's half of it
(``docs/sources.md``: to add a kind).
"""

from __future__ import annotations

import msgspec

from drbackup.errors import HostUnsuitable, ProtocolViolation, say
from drbackup.wire.decode_errors import UNREADABLE
from drbackup.wire.specs import SourceSpec
from drbackup_agent.sources.base import Source, SourceContext, SourceKind
from drbackup_agent.sources.command import COMMAND
from drbackup_agent.sources.files.kind import FILES
from drbackup_agent.sources.postgres.kind import POSTGRES
from drbackup_agent.sources.sqlite.kind import SQLITE

SOURCE_KINDS: list[SourceKind] = [FILES, SQLITE, POSTGRES, COMMAND]


class _Named(msgspec.Struct, frozen=True):
    """The part of a specification that every kind shares."""

    type: str


def kind_named(name: str) -> SourceKind:
    """The kind of that name. Raises :class:`HostUnsuitable` for a name that this agent does not know."""
    for kind in SOURCE_KINDS:
        if kind.name == name:
            return kind
    raise HostUnsuitable(
        say("this agent knows no source of kind {name}", name=name), hint="deploy the controller's agent to this host"
    )


def read_spec(spec: SourceSpec) -> msgspec.Struct:
    """A source's specification, decoded as its kind defines it.

    Raises :class:`HostUnsuitable` for an unknown kind. Raises :class:`ProtocolViolation` for fields that don't fit it.
    """
    try:
        kind = kind_named(msgspec.msgpack.decode(spec, type=_Named).type)
        return msgspec.msgpack.decode(spec, type=kind.spec)
    except UNREADABLE as bad:
        raise ProtocolViolation(say("a source's specification can't be read: {why}", why=bad)) from bad


def kind_of(spec: msgspec.Struct) -> SourceKind:
    """The kind that ``spec``, a result of :func:`read_spec`, belongs to."""
    return kind_named(str(spec.__struct_config__.tag))


def open_source(spec: msgspec.Struct, context: SourceContext) -> Source:
    """The source that ``spec``, a result of :func:`read_spec`, describes. Nothing of it is read yet."""
    return kind_of(spec).open(spec, context)
