"""The reader's language.

Owns the choice of language and the lookup of every string a person reads: English is the source text, translations
lie in ``drbackup/locale``. A missing translation shows the English text; a missing catalogue never fails a command.
"""

from __future__ import annotations

import gettext
import os
from collections.abc import Mapping
from pathlib import Path

from drbackup.errors import Said

DOMAIN = "drbackup"
FOLDER = Path(__file__).resolve().parent.parent / "locale"
_CHINESE = ("zh_CN", "zh_SG", "zh_Hans", "zh")

_current: gettext.NullTranslations = gettext.NullTranslations()
_language = "en"


def language_of(environment: Mapping[str, str]) -> str:
    """``zh_CN`` or ``en``, from DRBACKUP_LANG, LC_ALL, LC_MESSAGES and LANG: the first one set decides."""
    for name in ("DRBACKUP_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = environment.get(name, "").split(":")[0].split(".")[0].split("@")[0].replace("-", "_")
        if value:
            return "zh_CN" if value in _CHINESE else "en"
    return "en"


def speak(language: str) -> None:
    """Use this language from now on, in the whole process."""
    global _current, _language  # noqa: PLW0603 - one process speaks to one reader
    _current = gettext.translation(DOMAIN, FOLDER, [language], fallback=True)
    _language = language


def speak_by_environment() -> None:
    """Use the language the environment asks for."""
    speak(language_of(os.environ))


def language() -> str:
    """The language spoken now."""
    return _language


def _(text: str) -> str:
    """``text`` in the reader's language."""
    return _current.gettext(text)


def translated(text: str) -> str:
    """``text`` in the reader's language: by its template if it was said with values, else by itself."""
    if not isinstance(text, Said):
        return _(text) if text else ""
    values = {name: translated(value) if isinstance(value, Said) else value for name, value in text.values.items()}
    words = _(text.template) if text.template else ""
    try:
        return words.format_map(values) if values else words
    except (LookupError, ValueError):  # a template from another machine that fits a text of ours by chance only
        return str(text)


def ngettext(one: str, many: str, count: int) -> str:
    """``one`` or ``many`` in the reader's language, by ``count``."""
    return _current.ngettext(one, many, count)
