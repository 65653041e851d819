"""The template and values of a text that was kept only in English, by the catalog or by an older agent.

A template fits when some values make it exactly the text, so nothing is shown that was not said. Of several, the one
with the most letters of its own is taken. Matching never goes back over the text. So its time is bounded by the text's
length, whatever an agent wrote into it.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from drbackup.errors import Said, say

_LONGEST = 4000  # characters; what is longer is a tool's output, not a sentence of ours
_LEAST = 5  # letters of its own that a template must have, so that it does not fit by chance
_DEEPEST = 4  # values in values
_NUMBERED = re.compile(r"\[Errno \d+\] ([^:]+)")

# The operating system's texts for failures that a person most often sees.
SYSTEM_TEXTS = frozenset(
    {
        say("No such file or directory"),
        say("Permission denied"),
        say("Operation not permitted"),
        say("No space left on device"),
        say("Disk quota exceeded"),
        say("Input/output error"),
        say("Read-only file system"),
        say("Not a directory"),
        say("Is a directory"),
        say("Directory not empty"),
        say("File exists"),
        say("File name too long"),
        say("File too large"),
        say("Too many levels of symbolic links"),
        say("Too many open files"),
        say("Device or resource busy"),
        say("Stale file handle"),
        say("Connection refused"),
        say("Connection reset by peer"),
        say("Connection timed out"),
        say("No route to host"),
        say("Network is unreachable"),
        say("Broken pipe"),
        say("Cannot allocate memory"),
        say("Exec format error"),
        say("Name or service not known"),
        say("Temporary failure in name resolution"),
    }
)


class _Template(NamedTuple):
    """A template in its parts: ``literals[0] fields[0] literals[1] … literals[-1]``."""

    text: str  # the template itself
    literals: tuple[str, ...]
    fields: tuple[str, ...]
    weight: int  # letters of its own


def system_said(text: str) -> Said | None:
    """The operating system's text as a template with values; None for every other text.

    It may stand alone or as Python shows it: ``[Errno 2] No such file or directory: '/x'``.
    """
    if text in SYSTEM_TEXTS:
        return say(text)
    numbered = _NUMBERED.match(text)
    if numbered is None or numbered[1] not in SYSTEM_TEXTS:
        return None
    return say("{what}{rest}", what=say(numbered[1]), rest=text[numbered.end() :])


class Recall:
    """The texts of a translation, in which the template of a plain text can be found."""

    def __init__(self, texts: Iterable[str]) -> None:
        known = list(texts)
        taken = [taken for text in known if (taken := _taken_apart(text)) is not None]
        self._templates = sorted(taken, key=lambda each: -each.weight)
        self._sentences = frozenset(text for text in known if " " in text and "{" not in text)

    def said(self, text: str, depth: int = 0) -> Said | None:
        """``text`` with its template and values; None when no template fits or it has more than 4000 characters."""
        if len(text) > _LONGEST or depth > _DEEPEST:
            return None
        if text in self._sentences:  # of several words: a single one may be a name
            return say(text)
        if (system := system_said(text)) is not None:
            return system
        for template in self._templates:
            values = _values(template, text)
            if values is not None:
                return Said(template.text, {k: self.said(v, depth + 1) or v for k, v in values.items()})
        return None


def _taken_apart(text: str) -> _Template | None:
    """The template's parts; None without fields, with fewer than 5 letters of its own, or with fields that touch."""
    literals, fields = [""], []
    try:
        for literal, field, _spec, _conversion in string.Formatter().parse(text):
            literals[-1] += literal
            if field is not None:
                fields.append(field)
                literals.append("")
    except ValueError:
        return None
    weight = sum(letter.isalpha() for literal in literals for letter in literal)
    if not fields or weight < _LEAST or not all(literals[1:-1]) or not all(map(str.isidentifier, fields)):
        return None
    return _Template(text, tuple(literals), tuple(fields), weight)


def _values(template: _Template, text: str) -> dict[str, str] | None:
    """The values that make the template ``text``; None when it does not fit."""
    first, *middle, last = template.literals
    end = len(text) - len(last)
    if end < len(first) or not text.startswith(first) or not text.endswith(last):
        return None
    found: list[str] = []
    at = len(first)
    for literal in middle:
        to = text.find(literal, at, end)
        if to < 0:
            return None
        found.append(text[at:to])
        at = to + len(literal)
    found.append(text[at:end])
    return _agreeing(template.fields, found)


def _agreeing(fields: Sequence[str], found: Sequence[str]) -> dict[str, str] | None:
    """Field → value; None when a field that stands twice has two values, or when a value is empty."""
    values = dict(zip(fields, found, strict=True))
    same = all(values[field] == value for field, value in zip(fields, found, strict=True))
    return values if same and all(found) else None
