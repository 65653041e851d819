"""Doing something with any copy of a point: each store in turn, until one does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from drbackup.errors import DrbackupError, VaultMissing, say
from drbackup.model.point import Point

_Result = TypeVar("_Result")
_Errors = tuple[type[DrbackupError], ...]


def from_any_copy(
    point: Point,
    attempt: Callable[[str], _Result],
    stores: Sequence[str] = (),
    *,
    another_may_do: _Errors = (DrbackupError,),
    heard: Callable[[str, DrbackupError], None] = lambda _store, _bad: None,
) -> _Result:
    """The result of ``attempt`` with the first of the stores (the point's, unless named) with which it succeeds.

    An error of ``another_may_do`` is told to ``heard`` and the next store is tried. Raises the last store's error, any
    other error at once, and :class:`VaultMissing` when the point lies in no known store.
    """
    failure: DrbackupError = VaultMissing(say("point {point} lies in no store of the inventory", point=point.short))
    for store in stores or point.copies:
        try:
            return attempt(store)
        except another_may_do as bad:
            failure = bad  # said when no other copy does better
            heard(store, bad)
    raise failure
