"""Errors in a form that a drill's result may hold: no word of the restored data is in them."""

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
    """One line for an error: its message where that names objects, tools or hosts, else only its code."""
    if error.code in _TELLS_NO_CONTENT:
        return Failure.of(error).line
    if isinstance(error, ToolFailed):
        # In an error's first line a database quotes every value; the lines after it may show whole rows.
        first = re.split(r"\b(?:DETAIL|CONTEXT|LINE \d+|STATEMENT|QUERY):", error.message)[0]
        unquoted = re.sub('".*"', '"…"', first, flags=re.DOTALL).strip(" |")
        return Failure(error.code, unquoted).line
    return error.code
