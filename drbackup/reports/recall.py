"""How a text was said, found again where only the English text was kept: in the catalog, or by an older agent.

A template counts when it can be filled to exactly the text, so nothing is ever shown that was not said; of several, the
one with the most words of its own. Matching never goes back, so its time is bounded by the text's length whatever an
agent wrote into it.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from drbackup.errors import Said, say

_LONGEST = 4000  # characters; what is longer is a tool's output, not a sentence of ours
_LEAST = 5  # letters of its own that a template must have to be sure of
_DEEPEST = 4
_NUMBERED = re.compile(r"\[Errno \d+\] ([^:]+)")

# What the operating system says of a failure, in the words that a person most often meets.
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
    """A template taken apart: ``literals[0] fields[0] literals[1] … literals[-1]``."""

    text: str
    literals: tuple[str, ...]
    fields: tuple[str, ...]
    weight: int  # letters of its own


def system_said(text: str) -> Said | None:
    """What the operating system says, alone or as Python shows it: ``[Errno 2] No such file or directory: '/x'``."""
    if text in SYSTEM_TEXTS:
        return say(text)
    numbered = _NUMBERED.match(text)
    if numbered is None or numbered[1] not in SYSTEM_TEXTS:
        return None
    return say("{what}{rest}", what=say(numbered[1]), rest=text[numbered.end() :])


class Recall:
    """Finds how a text was said among the texts of the catalogue."""

    def __init__(self, texts: Iterable[str]) -> None:
        known = list(texts)
        taken = [taken for text in known if (taken := _taken_apart(text)) is not None]
        self._templates = sorted(taken, key=lambda each: -each.weight)
        self._sentences = frozenset(text for text in known if " " in text and "{" not in text)

    def said(self, text: str, depth: int = 0) -> Said | None:
        """How ``text`` was said; None when nothing fits."""
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
    """None for a constant, and for a template that says too little of its own or whose fields touch."""
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
    """What fills the template to ``text``; None when it does not fit."""
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
    """A field that stands twice must be filled alike, and none may be empty."""
    values = dict(zip(fields, found, strict=True))
    same = all(values[field] == value for field, value in zip(fields, found, strict=True))
    return values if same and all(found) else None
