"""The Chinese catalogue, merged with the source and compiled. Strings are those in ``_()`` and ``ngettext()`` of the
``drbackup`` package, and the texts of errors and findings of both packages (:mod:`tools.docs.sayings`); a person
translates, this only keeps the files current.
"""

from __future__ import annotations

import string
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po, write_po

from tools.docs.sayings import sayings

_SINCE = datetime(2026, 11, 23, tzinfo=UTC)
ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "drbackup"
LANGUAGE = Path("drbackup/locale/zh_CN/LC_MESSAGES")
FOLDER = ROOT / LANGUAGE
KEYWORDS = {"_": None, "ngettext": (1, 2)}


def marked() -> Catalog:
    """Every string in ``_()`` and ``ngettext()``, with the files it stands in."""
    catalog = Catalog(project="drbackup", charset="utf-8")
    found = extract_from_dir(str(PACKAGE), [("**.py", "python")], keywords=KEYWORDS)
    for file, _line, message, comments, context in sorted(found, key=lambda row: (row[0], row[1])):
        # no line numbers: they would change the file with every edit of the source
        catalog.add(message, None, [(f"drbackup/{file}", 0)], auto_comments=comments, context=context)
    return catalog


def extracted() -> Catalog:
    """Every string of the source, with the files it stands in."""
    catalog = marked()
    for text in sorted(set(sayings().texts)):
        catalog.add(text.text, None, [(text.file, 0)])
    return catalog


def translated() -> Catalog:
    """The translations as committed."""
    with (FOLDER / "drbackup.po").open("rb") as file:
        return read_po(file, locale="zh_CN")


def problems() -> list[str]:
    """What is not current; empty when all is."""
    wanted = {_frozen(message.id) for message in extracted() if message.id}
    have = {_frozen(message.id): message for message in translated() if message.id}
    found = [f"not translated: {text!r}" for text in wanted if text not in have or not _complete(have[text].string)]
    found += [f"no longer used: {text!r}" for text in have if text not in wanted]
    found += [f"marked fuzzy: {text!r}" for text, message in have.items() if message.fuzzy]
    found += [f"placeholders differ: {text!r}" for text in have if text in wanted and not _same_fields(have[text])]
    with (FOLDER / "drbackup.mo").open("rb") as file:
        compiled = {_frozen(message.id): _frozen(message.string) for message in read_mo(file) if message.id}
    if compiled != {text: _frozen(message.string) for text, message in have.items() if _complete(message.string)}:
        found.append("drbackup.mo is not compiled from drbackup.po")
    return sorted(found)


def _frozen(text: object) -> object:
    """A plural's forms as a tuple, whatever they came as."""
    return tuple(text) if isinstance(text, list | tuple) else text


def _complete(text: object) -> bool:
    return all(text) if isinstance(text, tuple | list) else bool(text)


def _same_fields(message: object) -> bool:
    def fields(texts: object) -> set[str | None]:
        parts = texts if isinstance(texts, tuple | list) else (texts,)
        return {name for text in parts for _t, name, _s, _c in string.Formatter().parse(str(text)) if name}

    return fields(message.id) == fields(message.string)  # type: ignore[attr-defined]


def current() -> dict[str, bytes]:
    """The two files as they should be: new strings merged, unused ones dropped, compiled."""
    catalog = translated()
    catalog.update(extracted(), no_fuzzy_matching=True)
    catalog.obsolete.clear()
    # a header that is the same on every day
    catalog.header_comment = "# Chinese (Simplified) translations of drbackup."
    catalog.project, catalog.version, catalog.fuzzy = "drbackup", "1", False
    catalog.msgid_bugs_address = catalog.last_translator = catalog.language_team = "drbackup"
    catalog.creation_date = catalog.revision_date = _SINCE
    text, compiled = BytesIO(), BytesIO()
    write_po(text, catalog, omit_header=False, include_lineno=False, width=120, sort_by_file=True)
    write_mo(compiled, catalog)
    return {f"{LANGUAGE}/drbackup.po": text.getvalue(), f"{LANGUAGE}/drbackup.mo": compiled.getvalue()}
