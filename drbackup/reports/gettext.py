"""The reader's language.

Owns the choice of language and the lookup of every string that a person reads. English is the source text, and the
translations lie in ``drbackup/locale``. A missing translation shows the English text.
"""

from __future__ import annotations

import functools
import gettext
import os
import struct
from collections.abc import Mapping
from pathlib import Path

from drbackup.errors import Said
from drbackup.reports.recall import Recall, system_said

DOMAIN = "drbackup"
FOLDER = Path(__file__).resolve().parent.parent / "locale"
_CHINESE = ("zh_CN", "zh_SG", "zh_Hans", "zh")

_current: gettext.NullTranslations = gettext.NullTranslations()
_language = "en"


def language_of(environment: Mapping[str, str]) -> str:
    """``zh_CN`` or ``en``, from DRBACKUP_LANG, LC_ALL, LC_MESSAGES and LANG; the first that is set decides."""
    for name in ("DRBACKUP_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = environment.get(name, "").split(":")[0].split(".")[0].split("@")[0].replace("-", "_")
        if value:
            return "zh_CN" if value in _CHINESE else "en"
    return "en"


def speak(language: str) -> None:
    """The process's language is ``language`` from now on; texts stay English where it has no translation."""
    global _current, _language  # noqa: PLW0603 - one process has one reader
    _current = gettext.translation(DOMAIN, FOLDER, [language], fallback=True)
    _language = language


def speak_by_environment() -> None:
    """The process's language is the one that its environment asks for (:func:`language_of`)."""
    speak(language_of(os.environ))


def language() -> str:
    """The process's language, ``zh_CN`` or ``en``."""
    return _language


def _(text: str) -> str:
    """``text`` in the reader's language, itself when it has no translation."""
    return _current.gettext(text)


def translated(text: str) -> str:
    """``text`` in the reader's language: by its template if it was made from one, else as a whole.

    The catalog keeps plain texts without their templates. Such a text is translated by the template that fits it.
    """
    if not isinstance(text, Said) or not text.values:
        words = _(text) if text else ""
        said = _recall().said(text) if words == text and _language != "en" else None
        return words if said is None else translated(said)
    values = {name: _value(value) for name, value in text.values.items()}
    words = _(text.template) if text.template else ""
    try:
        return words.format_map(values) if values else words
    except (LookupError, ValueError):  # a template from another machine that fits a text of ours by chance only
        return str(text)


def _value(value: str) -> str:
    """A template's value: translated if it is a text of ours or the operating system's, else as it is."""
    if isinstance(value, Said):
        return translated(value)
    said = system_said(value)
    return value if said is None else translated(said)


@functools.cache
def _recall() -> Recall:
    """The English texts that the only translation, the Chinese one, has."""
    data = (FOLDER / "zh_CN" / "LC_MESSAGES" / f"{DOMAIN}.mo").read_bytes()
    _magic, _version, count, table = struct.unpack_from("<4I", data)
    places = (struct.unpack_from("<2I", data, table + 8 * number) for number in range(count))
    return Recall(data[offset : offset + length].decode() for length, offset in places)


def ngettext(one: str, many: str, count: int) -> str:
    """``one`` or ``many`` in the reader's language, as ``count`` asks for; ``{n}`` in it is not filled."""
    return _current.ngettext(one, many, count)
