"""Any copy of a point will do: each store is tried in turn, and what is not a copy's fault is not tried again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from drbackup.controller.restore.any_copy import from_any_copy
from drbackup.errors import DrbackupError, Interrupted, ObjectCorrupt, StoreUnavailable, VaultMissing
from drbackup.model.point import Point, Totals

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def point(*copies: str) -> Point:
    return Point("ab" * 32, "v1/r/tax/x", "tax", "db", "db1", "files", NOW, NOW, Totals(), copies=copies)


class Stores:
    """What each store does when it is asked."""

    def __init__(self, **trouble: DrbackupError) -> None:
        self.trouble = trouble
        self.asked: list[str] = []

    def ask(self, store: str) -> str:
        self.asked.append(store)
        if store in self.trouble:
            raise self.trouble[store]
        return f"bytes of {store}"


def test_the_first_copy_that_does_is_taken_and_the_others_are_not_asked() -> None:
    stores = Stores(main=ObjectCorrupt("bad"))
    heard: list[str] = []
    told = from_any_copy(point("main", "other", "third"), stores.ask, heard=lambda store, bad: heard.append(store))
    assert told == "bytes of other"
    assert (stores.asked, heard) == (["main", "other"], ["main"])


def test_the_last_stores_error_is_raised_when_none_does() -> None:
    stores = Stores(main=ObjectCorrupt("bad"), other=StoreUnavailable("away"))
    with pytest.raises(StoreUnavailable):
        from_any_copy(point("main", "other"), stores.ask)


def test_what_is_no_copys_fault_ends_it_at_once() -> None:
    stores = Stores(main=Interrupted("stop"))
    with pytest.raises(Interrupted):
        from_any_copy(point("main", "other"), stores.ask, another_may_do=(ObjectCorrupt,))
    assert stores.asked == ["main"]


def test_only_the_stores_named_are_asked() -> None:
    stores = Stores()
    assert from_any_copy(point("main", "other"), stores.ask, ["other"]) == "bytes of other"
    assert stores.asked == ["other"]


def test_a_point_without_a_known_store_says_so() -> None:
    with pytest.raises(VaultMissing, match="abababababab lies in no store"):
        from_any_copy(point(), Stores().ask)
