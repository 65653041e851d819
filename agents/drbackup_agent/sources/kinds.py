"""The whole list of source kinds: a new one is its file and a line here."""

from __future__ import annotations

from drbackup.wire.specs import CommandSpec, FilesSpec, PostgresSpec, SourceSpec, SqliteSpec
from drbackup_agent.sources.base import Source, SourceContext
from drbackup_agent.sources.command import CommandSource
from drbackup_agent.sources.files.source import FilesSource
from drbackup_agent.sources.postgres.source import PostgresSource
from drbackup_agent.sources.sqlite import SqliteSource


def open_source(spec: SourceSpec, context: SourceContext) -> Source:
    """The source of a specification."""
    match spec:
        case FilesSpec():
            return FilesSource(spec, context)
        case SqliteSpec():
            return SqliteSource(spec, context)
        case PostgresSpec():
            return PostgresSource(spec, context)
        case CommandSpec():
            return CommandSource(spec, context)
