"""Errors as a drill's result may carry them: never a word of the restored data."""

from __future__ import annotations

import re

from drbackup.errors import DrbackupError, Failure, ToolFailed

_TELLS_NO_CONTENT = frozenset(
    {
        "ObjectCorrupt",
        "ObjectMissing",
        "StoreUnavailable",
        "StoreRefused",
        "WrongKey",
        "FormatUnsupported",
        "ToolMissing",
        "ToolTooOld",
        "HostUnsuitable",
        "TargetFull",
        "UsageError",
    }
)


def without_content(error: DrbackupError) -> str:
    """An error as a result may carry it: its words only where they name objects, tools and hosts, never data."""
    if error.code in _TELLS_NO_CONTENT:
        return Failure.of(error).line
    if isinstance(error, ToolFailed):
        # A database quotes every value it shows in its first line; the lines behind it may show whole rows.
        first = re.split(r"\b(?:DETAIL|CONTEXT|LINE \d+|STATEMENT|QUERY):", error.message)[0]
        unquoted = re.sub('".*"', '"…"', first, flags=re.DOTALL).strip(" |")
        return Failure(error.code, unquoted).line
    return error.code
