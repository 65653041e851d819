"""Findings from pydantic's errors, for the person who wrote the file: the place, what is wrong, how to correct it."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from drbackup.errors import Said, say
from drbackup.model.document import Document, Finding, nearest

_WORDS = {
    "string_type": say("must be text"),
    "int_type": say("must be a whole number"),
    "float_type": say("must be a number"),
    "float_parsing": say("must be a number"),
    "int_parsing": say("must be a whole number"),
    "bool_type": say("must be true or false"),
    "tuple_type": say("must be a list"),
    "dict_type": say("must be a mapping of keys and values"),
    "model_type": say("must be a mapping of keys and values"),
    "model_attributes_type": say("must be a mapping of keys and values"),
    "string_too_short": say("must not be empty"),
}
_WAYS_OUT = {
    "string_type": say("put it in quotes"),
    "bool_type": say("write true or false, without quotes"),
    "tuple_type": say("write [a, b], or one '- a' on each line"),
}
_PATTERNS = (
    (r"^/", say("must be an absolute path"), say("begin with /")),
    (
        r"^[a-z0-9]([a-z0-9-]",
        say("is not a name"),
        say("small letters, digits and dashes, like enterprise-base"),
    ),
    (
        r"^[a-z0-9]([a-z0-9.-]",
        say("is not an agent's name"),
        say("small letters, digits, dashes and dots, like db1.taxation"),
    ),
)


def explain(error: ValidationError, document: Document, model: type[BaseModel]) -> list[Finding]:
    """One finding for each place in ``document`` that ``model`` refused."""
    found: dict[tuple[int, int, str], Finding] = {}
    every = error.errors(include_url=False)
    details = [detail for detail in every if not _echo(detail, every)]
    wrong_level = any(detail["loc"][:1] == ("level",) for detail in details)
    for detail in details:
        if wrong_level and detail["type"] == "missing" and detail["loc"][:1] == ("objectives",):
            continue  # missing only because the level, which would give them, is wrong: one finding is enough
        finding = _retell(detail, document, model)
        union = "" if detail["type"] in ("missing", "extra_forbidden") else "value"
        found.setdefault((finding.line, finding.column, union or finding.message), finding)
    return list(found.values())


def _echo(detail: ErrorDetails, details: Sequence[ErrorDetails]) -> bool:
    """Whether a list is too short only because its members are wrong, which are reported themselves."""
    loc = detail["loc"]
    return detail["type"] == "too_short" and any(
        other["loc"][: len(loc)] == loc and len(other["loc"]) > len(loc) for other in details
    )


def _retell(detail: ErrorDetails, document: Document, model: type[BaseModel]) -> Finding:
    kind, loc, value = detail["type"], tuple(detail["loc"]), detail["input"]
    last = str(loc[-1]) if loc else ""
    if kind == "missing":
        hint = "the level promises nothing here: say rpo and rto" if "objectives" in loc else ""
        return document.finding(loc[:-1], say("the key '{last}' is missing", last=last), hint, at_key=True)
    if kind == "extra_forbidden":
        hint = nearest(last, _keys_at(model, loc[:-1]))
        return document.finding(loc, say("unknown key '{last}'", last=last), hint, at_key=True)
    if loc and loc[-1] == "[key]":
        return document.finding(loc[:-1], *_pattern_words(detail, loc[-2]), at_key=True)
    if kind == "string_pattern_mismatch":
        return document.finding(loc, *_pattern_words(detail, value))
    if kind == "value_error":
        return document.finding(loc, said_by(detail["ctx"]["error"]))
    if kind == "literal_error":
        words = str(detail["ctx"]["expected"])
        hint = nearest(str(value), [word.strip("'") for word in words.replace(" or ", ", ").split(", ")])
        return document.finding(
            loc, say("{value}must be {words}", value=_shown(value), words=words), hint if "did you" in hint else ""
        )
    if kind == "too_short":
        return document.finding(loc, say("the list '{last}' must not be empty", last=last))
    words = _WORDS.get(kind) or _limit_words(detail)
    way_out: Said = _WAYS_OUT.get(kind, say(""))
    return document.finding(loc, say("{value}{words}", value=_shown(value), words=words), way_out)


def said_by(error: ValueError) -> Said:
    """The text of a validator's error, with its template and values when it has them."""
    return say(error.args[0] if error.args and isinstance(error.args[0], Said) else str(error))


def _limit_words(detail: ErrorDetails) -> Said:
    limits = detail.get("ctx", {})
    match detail["type"]:
        case "greater_than_equal":
            return say("must be greater than or equal to {limit}", limit=limits["ge"])
        case "greater_than":
            return say("must be greater than {limit}", limit=limits["gt"])
        case "less_than_equal":
            return say("must be less than or equal to {limit}", limit=limits["le"])
        case "less_than":
            return say("must be less than {limit}", limit=limits["lt"])
    return say("{words}", words=detail["msg"].replace("Input should be", "must be"))


def _shown(value: Any) -> Said:
    if value is None:
        return say("an empty value: ")
    if isinstance(value, bool):
        return say("{value} ", value=str(value).lower())
    return say("{value} ", value=repr(value)) if isinstance(value, str | int | float) else say("")


def _pattern_words(detail: ErrorDetails, value: Any) -> tuple[Said, Said]:
    pattern = str(detail.get("ctx", {}).get("pattern", ""))
    for start, words, hint in _PATTERNS:
        if pattern.startswith(start):
            return say("{value} {words}", value=repr(value), words=words), hint
    hint = say("it must match {pattern}", pattern=pattern) if pattern else say("")
    return say("{value} is not allowed here", value=repr(value)), hint


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
