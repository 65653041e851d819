"""What pydantic says about a value, retold for the person who wrote the file: place, plain words, a way out."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from drbackup.model.document import Document, Finding, nearest

_WORDS = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "int_parsing": "must be a whole number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping of keys and values",
    "model_type": "must be a mapping of keys and values",
    "model_attributes_type": "must be a mapping of keys and values",
    "string_too_short": "must not be empty",
}
_WAYS_OUT = {
    "string_type": "put it in quotes",
    "bool_type": "write true or false, without quotes",
    "tuple_type": "write [a, b], or one '- a' on each line",
}
_PATTERNS = (
    (r"^/", "must be an absolute path", "begin with /"),
    (r"^[a-z0-9]([a-z0-9-]", "is not a name", "small letters, digits and dashes, like enterprise-base"),
    (r"^[a-z0-9]([a-z0-9.-]", "is not an agent's name", "small letters, digits, dashes and dots, like db1.taxation"),
)


def explain(error: ValidationError, document: Document, model: type[BaseModel]) -> list[Finding]:
    """One finding for each place in ``document`` that ``model`` refused."""
    found: dict[tuple[int, int, str], Finding] = {}
    every = error.errors(include_url=False)
    details = [detail for detail in every if not _echo(detail, every)]
    wrong_level = any(detail["loc"][:1] == ("level",) for detail in details)
    for detail in details:
        if wrong_level and detail["type"] == "missing" and detail["loc"][:1] == ("objectives",):
            continue  # only missing because the level that would give them is wrong: said once is enough
        finding = _retell(detail, document, model)
        union = "" if detail["type"] in ("missing", "extra_forbidden") else "value"
        found.setdefault((finding.line, finding.column, union or finding.message), finding)
    return list(found.values())


def _echo(detail: ErrorDetails, details: Sequence[ErrorDetails]) -> bool:
    """A list that is only too short because its members are wrong: they are reported themselves."""
    loc = detail["loc"]
    return detail["type"] == "too_short" and any(
        other["loc"][: len(loc)] == loc and len(other["loc"]) > len(loc) for other in details
    )


def _retell(detail: ErrorDetails, document: Document, model: type[BaseModel]) -> Finding:
    kind, loc, value = detail["type"], tuple(detail["loc"]), detail["input"]
    last = str(loc[-1]) if loc else ""
    if kind == "missing":
        hint = "the level promises nothing here: say rpo and rto" if "objectives" in loc else ""
        return document.finding(loc[:-1], f"the key '{last}' is missing", hint, at_key=True)
    if kind == "extra_forbidden":
        hint = nearest(last, _keys_at(model, loc[:-1]))
        return document.finding(loc, f"unknown key '{last}'", hint, at_key=True)
    if loc and loc[-1] == "[key]":
        return document.finding(loc[:-1], *_pattern_words(detail, loc[-2]), at_key=True)
    if kind == "string_pattern_mismatch":
        return document.finding(loc, *_pattern_words(detail, value))
    if kind == "value_error":
        return document.finding(loc, str(detail["ctx"]["error"]))
    if kind == "literal_error":
        words = str(detail["ctx"]["expected"])
        hint = nearest(str(value), [word.strip("'") for word in words.replace(" or ", ", ").split(", ")])
        return document.finding(loc, f"{_shown(value)}must be {words}", hint if "did you" in hint else "")
    if kind == "too_short":
        return document.finding(loc, f"the list '{last}' must not be empty")
    words = _WORDS.get(kind) or detail["msg"].replace("Input should be", "must be")
    return document.finding(loc, f"{_shown(value)}{words}", _WAYS_OUT.get(kind, ""))


def _shown(value: Any) -> str:
    if value is None:
        return "an empty value: "
    if isinstance(value, bool):
        return f"{str(value).lower()} "
    return f"{value!r} " if isinstance(value, str | int | float) else ""


def _pattern_words(detail: ErrorDetails, value: Any) -> tuple[str, str]:
    pattern = str(detail.get("ctx", {}).get("pattern", ""))
    for start, words, hint in _PATTERNS:
        if pattern.startswith(start):
            return f"{value!r} {words}", hint
    return f"{value!r} is not allowed here", f"it must match {pattern}" if pattern else ""


def _keys_at(model: type[BaseModel], path: Sequence[str | int]) -> set[str]:
    """The keys a mapping at ``path`` may have; empty if the path leads to no model."""
    here: Any = model
    for step in path:
        if isinstance(here, type) and issubclass(here, BaseModel):
            field = here.model_fields.get(str(step))
            here = field.annotation if field else None
        else:
            here = _item(here)
        here = _unwrapped(here)
    return set(here.model_fields) if isinstance(here, type) and issubclass(here, BaseModel) else set()


def _unwrapped(annotation: Any) -> Any:
    """``X | None`` → X; ``Annotated[X, …]`` → X."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _unwrapped(typing.get_args(annotation)[0])
    if origin in (types.UnionType, typing.Union):
        return next((_unwrapped(arg) for arg in typing.get_args(annotation) if arg is not types.NoneType), None)
    return annotation


def _item(annotation: Any) -> Any:
    args = typing.get_args(annotation)
    if typing.get_origin(annotation) is dict:
        return args[1]
    return args[0] if args else None
