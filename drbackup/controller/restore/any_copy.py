"""An action on any copy of a point: each store is tried in turn, until the action succeeds with one."""

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
    """The result of ``attempt`` with the first store, by name, with which it succeeds.

    Without ``stores`` the point's are tried. An error of ``another_may_do`` is passed to ``heard``, and the next store
    is tried. Raises the last store's error, any other error at once, and :class:`VaultMissing` when there is no store.
    """
    failure: DrbackupError = VaultMissing(say("point {point} lies in no store of the inventory", point=point.short))
    for store in stores or point.copies:
        try:
            return attempt(store)
        except another_may_do as bad:
            failure = bad  # raised when no other store succeeds
            heard(store, bad)
    raise failure
