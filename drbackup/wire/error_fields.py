"""An error as it crosses the wire: its English texts, and beside them the templates and values they were made from.

The field ``said`` has these as JSON: name of the text → template and values. An older side does not send it and ignores
it. With the templates, the receiver can show the texts in another language.

The other side may be an attacker's. So a template counts only when, filled, it gives exactly the plain text that came
with it. In every other case the plain text is shown, so a template can neither hide nor break anything.
"""

from __future__ import annotations

import string
from collections.abc import Callable

import msgspec

from drbackup.errors import DrbackupError, Said, from_fields

_SAID = "said"
_LONGEST = 64 << 10  # characters of ``said``; a longer one is left out, because the plain text is always there
_DEEPEST = 8  # templates inside the values of templates
_UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)


class _Form(msgspec.Struct, frozen=True, array_like=True):
    """One text as its template and values."""

    template: str
    values: dict[str, str | _Form] = {}  # name in the template → text, or a text made the same way


_FORMS = msgspec.json.Decoder(dict[str, _Form])


def fields_of(error: DrbackupError) -> dict[str, str]:
    """The fields of an error as the wire carries them: what :func:`error_of` takes."""
    fields = {
        "message": error.message,
        "host": error.host,
        "where": error.where,
        "safe": error.safe,
        "hint": error.hint,
    }
    forms = {"message": error.said, "safe": error.said_safe, "hint": error.said_hint}
    # what was said without values is translated by its own text
    said = msgspec.json.encode({name: _form(text) for name, text in forms.items() if text.values}).decode()
    return {**fields, _SAID: said} if 2 < len(said) <= _LONGEST else fields


def error_of(code: str, fields: dict[str, str], clean: Callable[[str], str] = str) -> DrbackupError:
    """The error that crossed the wire, to be raised. ``clean`` gives a text without what may not be shown.

    ``code``: the name of its class in :mod:`drbackup.errors`.
    """
    texts = {name: clean(text) for name, text in fields.items() if name != _SAID}
    for name, form in _forms(fields.get(_SAID, "")).items():
        said = _said(form, fields.get(name, ""), clean)
        if said is not None:
            texts[name] = said
    return from_fields(code, texts)


def _form(text: Said) -> _Form:
    return _Form(text.template, {name: _form(v) if isinstance(v, Said) else v for name, v in text.values.items()})


def _forms(text: str) -> dict[str, _Form]:
    if not text or len(text) > _LONGEST:
        return {}
    try:
        return _FORMS.decode(text)
    except _UNREADABLE:
        return {}


def _said(form: _Form, plain: str, clean: Callable[[str], str]) -> Said | None:
    """``plain`` with its template and values; None when ``form``, filled, is not the same text."""
    try:
        if _Filling(len(plain)).said(form) != plain:
            return None
        said = _Filling(len(plain) + _LONGEST, clean).said(form)
    except _UNREADABLE:
        return None
    return said if clean(said) == said else None


class _Filling:
    """The filling of templates that may be an attacker's, within ``longest`` characters for each level.

    ``ValueError`` is raised for what is no template or too long, before memory is used for it.
    """

    def __init__(self, longest: int, clean: Callable[[str], str] = str) -> None:
        self._left = longest * (_DEEPEST + 1)
        self._clean = clean

    def said(self, form: _Form, depth: int = 0) -> Said:
        """The text of ``form``. Raises ``ValueError``."""
        if depth > _DEEPEST:
            raise ValueError
        values = {
            name: self.said(value, depth + 1) if isinstance(value, _Form) else self._clean(value)
            for name, value in form.values.items()
        }
        self._left -= _length(form.template, values) if values else len(form.template)
        if self._left < 0:
            raise ValueError
        return Said(form.template, values)


def _length(template: str, values: dict[str, str]) -> int:
    """The length of the filled template. Raises ``ValueError`` unless all fields are plain, each with a value."""
    length = 0
    for literal, field, spec, conversion in string.Formatter().parse(template):
        length += len(literal)
        if field is not None:
            if spec or conversion or field not in values or not field.isidentifier():
                raise ValueError
            length += len(values[field])
    return length
