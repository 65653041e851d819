"""An error as a person and as a script read it: what failed and where, what is still safe, what to do next."""

from __future__ import annotations

from rich.text import Text

from drbackup.cli.context import JsonObject
from drbackup.errors import DrbackupError
from drbackup.reports.words import _


def explain(failure: DrbackupError) -> list[Text]:
    """The lines for stderr. The first says what failed, on which host and at which place."""
    where = ", ".join(part for part in (failure.host, failure.where) if part)
    first = Text(_("failed: "), style="bold red") + Text(failure.message, style="red")
    if where and where not in failure.message:
        first.append(f" ({where})", style="red")
    lines = [first]
    if failure.safe:
        lines.append(Text(_("still safe: "), style="bold") + Text(failure.safe))
    if failure.hint:
        lines.append(Text(_("next: "), style="bold") + Text(failure.hint))
    return lines


def document_of(failure: DrbackupError) -> JsonObject:
    """The ``error`` member of a ``--json`` document."""
    return {
        "code": failure.code,
        "exit_code": failure.exit_code,
        "message": failure.message,
        "host": failure.host,
        "where": failure.where,
        "still_safe": failure.safe,
        "next": failure.hint,
    }
