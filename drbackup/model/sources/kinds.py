"""Every kind of source that a policy may name, in one list, in the order of the reference.

A new kind needs a model beside this module, a line in :data:`SOURCE_KINDS`, and its code on the agent.
``docs/sources.md`` says how to add one.
"""

from __future__ import annotations

from drbackup.model.sources.base import SourceSettings
from drbackup.model.sources.command import CommandPolicy
from drbackup.model.sources.files import FilesPolicy
from drbackup.model.sources.postgres import PostgresPolicy
from drbackup.model.sources.sqlite import SqlitePolicy

SOURCE_KINDS: list[type[SourceSettings]] = [FilesPolicy, SqlitePolicy, PostgresPolicy, CommandPolicy]


def whole_check(kind: str) -> str:
    """The kind of check that compares a whole copy of that kind of source with what was copied."""
    # A copy of an unknown kind is not restored either, so any check fails on it.
    return next((each.whole_check for each in SOURCE_KINDS if each.kind == kind), "counts")
