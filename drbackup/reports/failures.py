"""Errors as a person and as a script read them: what failed and where, what is still safe, what to do next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rich.text import Text

from drbackup.errors import DoneInPart, DrbackupError, Said, say, say_all
from drbackup.reports.gettext import _, translated
from drbackup.system.console import one_line, without_controls


def explain(failure: DrbackupError) -> list[Text]:
    """The lines of an error for stderr. The first says what failed, on which host and at which place."""
    host = failure.host if not _says(failure.message, failure.host) else ""
    place = failure.where if failure.where not in failure.message else ""
    where = ", ".join(part for part in (host, place) if part)
    first = Text(_("failed: "), style="bold red") + Text(_shown(failure.said), style="red")
    if where:
        first.append(f" ({one_line(where)})", style="red")
    lines = [first]
    if failure.safe:
        lines.append(Text(_("still safe: "), style="bold") + Text(_shown(failure.said_safe)))
    if failure.hint:
        lines.append(Text(_("next: "), style="bold") + Text(_shown(failure.said_hint)))
    return lines


def _shown(said: str) -> str:
    """The text in the reader's language, without control characters: a foreign name in it can't steer the terminal."""
    return without_controls(translated(said))


def _says(message: str, host: str) -> bool:
    """Whether the message holds the host's name as a word of its own, not as part of a path or of another name."""
    return re.search(rf"(?<![\w./-]){re.escape(host)}(?![\w/-])", message) is not None


def joined(failures: Sequence[DrbackupError], good: Sequence[str], *, partly: bool) -> DrbackupError:
    """The one error that a command with several parts raises.

    It is the error itself when there was only one part. It is :class:`DoneInPart` when some parts succeeded (``good``)
    or something was committed in spite of an error (``partly``). Otherwise it has the class that all failures share, or
    :class:`DrbackupError` when they differ.
    """
    if len(failures) == 1 and not good:
        return failures[0]
    reasons = say_all(dict.fromkeys(failure.said for failure in failures))  # each reason once
    words: Said = say("{n} failed: {reasons}", n=len(failures), reasons=reasons)
    hint = failures[0].said_hint
    if good:
        return DoneInPart(say("{failed}. done: {names}", failed=words, names=", ".join(good)), hint=hint)
    if partly:
        return DoneInPart(say("{failed}.", failed=words), hint=hint)
    alike = {type(failure) for failure in failures}
    kind = alike.pop() if len(alike) == 1 else DrbackupError
    return kind(words, hint=hint)


def document_of(failure: DrbackupError) -> dict[str, Any]:
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
