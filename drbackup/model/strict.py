"""The base of every model that is read from a file, and the shape of names in such files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, create_model

from drbackup.errors import say

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""A system's or source's name: small letters, digits and dashes. It becomes part of object names and folders."""

AgentName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,125}[a-z0-9])?$")]
"""An agent's name: dots allowed too, like ``db1.market-regulation``."""

AbsolutePath = Annotated[str, StringConstraints(pattern=r"^/")]
NonEmpty = Annotated[str, StringConstraints(min_length=1)]


class Strict(BaseModel):
    """Base of every model read from a file: frozen, no unknown keys."""

    # Most models are only parts of others, so a validator of their own is built when it is first used.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Kind(Strict):
    """One of several kinds of a thing. A file gives it under the kind's own name, like ``files: {paths: [/srv]}``."""

    kind: ClassVar[str]


_Model = TypeVar("_Model", bound=Strict)


def one_of(kinds: Sequence[type[Kind]]) -> Callable[[type[_Model]], type[_Model]]:
    """A decorator that gives a model one optional field for each of ``kinds``, named after it.

    The model itself must check that exactly one of them is given, with :func:`require_one`.
    """

    def with_kinds(model: type[_Model]) -> type[_Model]:
        said = "Exactly one of the kinds."
        fields: dict[str, Any] = {kind.kind: (kind | None, Field(default=None, description=said)) for kind in kinds}
        return create_model(
            model.__name__, __base__=model, __module__=model.__module__, __doc__=model.__doc__, **fields
        )

    return with_kinds


def any_of(kinds: Sequence[type[Kind]]) -> Callable[[type[_Model]], type[_Model]]:
    """A decorator that gives a model the keys of all ``kinds``, each of them optional.

    ``{forms}`` in the model's docstring is replaced by the keys of each kind. The model itself must check that the keys
    of exactly one kind are given.
    """

    def with_keys(model: type[_Model]) -> type[_Model]:
        fields: dict[str, Any] = {}
        for key, field in (pair for kind in kinds for pair in kind.model_fields.items()):
            shape: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
            fields.setdefault(key, (shape | None, Field(default=None, description=field.description)))
        *most, last = ["{" + ", ".join(kind.model_fields) + "}" for kind in kinds]
        said = (model.__doc__ or "").format(forms=f"{', '.join(most)} or {last}")
        return create_model(model.__name__, __base__=model, __module__=model.__module__, __doc__=said, **fields)

    return with_keys


def require_one(model: BaseModel, keys: tuple[str, ...]) -> None:
    """Exactly one of ``keys`` has a value in ``model``, or ``ValueError`` is raised."""
    given = [str(key) for key in keys if getattr(model, key) is not None]
    if len(given) != 1:
        wanted = ", ".join(map(str, keys))
        raise ValueError(
            say("exactly one of {wanted} is needed, here: {given}", wanted=wanted, given=", ".join(given) or "none")
        )
