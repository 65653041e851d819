"""Text from elsewhere, made safe for a terminal or a log: names of files, lines of other machines.

An escape sequence in a file's name could repaint a screen, and a line break could forge a line of a report. Documents
for scripts (``--json``) escape by themselves and keep every character.
"""

from __future__ import annotations


def one_line(foreign: str | bytes) -> str:
    r"""``foreign`` on one line: bytes that are no UTF-8 and unprintable characters become escapes like ``\x1b``."""
    text = foreign if isinstance(foreign, str) else foreign.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(map(_escaped, text))


def without_controls(foreign: str) -> str:
    """``foreign`` without unprintable characters, except its line breaks and tabs."""
    return "".join(letter for letter in foreign if letter in "\n\t" or letter.isprintable())


def _escaped(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
