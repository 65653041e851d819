"""Whatever a store gives back, no wrong data is restored, nothing crashes, and what is damaged is named.

Every object of a small whole vault is flipped, cut, grown, swapped, moved and replayed; after each damage every reader
of a vault looks at it. ``DRBACKUP_EXHAUSTIVE=1`` flips every bit instead of a fixed choice.
"""

from __future__ import annotations

import functools
from datetime import timedelta
from pathlib import Path

import pytest

from drbackup.controller.catalog import Catalog
from tests.adversary import damages
from tests.adversary.views import Damaged, evidence, look, rebuild, restore
from tests.adversary.whole_vault import NOON, WholeVault

KINDS = ("vault", "p", "t", "i", "r", "e", "c")


@functools.cache
def whole() -> WholeVault:
    return WholeVault.build()


@functools.cache
def older() -> WholeVault:
    """The same city's vault of before, with keys of its own."""
    return WholeVault.build(seed=1, day=NOON - timedelta(days=400))


def test_an_undamaged_vault_gives_no_cause_for_complaint() -> None:
    untouched = Damaged("nothing", whole().store, frozenset())
    assert restore(whole(), untouched) == 0
    assert evidence(whole(), untouched) == 0
    assert rebuild(whole(), untouched).faults == ()
    assert {damages.kind_of(name) for name in whole().store.objects} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit(kind: str) -> None:
    assert look(whole(), damages.flips(whole(), kind)) > 40


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_cut_emptied_lost_or_grown(kind: str) -> None:
    assert look(whole(), damages.cuts(whole(), kind)) > 15


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "vault"])
def test_an_object_in_the_place_of_another(kind: str) -> None:
    assert look(whole(), damages.swaps(whole(), kind)) > 5


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_where_it_does_not_belong(kind: str) -> None:
    assert look(whole(), damages.under_other_names(whole(), kind)) > 5


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_of_an_older_vault(kind: str) -> None:
    assert look(whole(), damages.replays(whole(), older(), kind)) > 3


def test_names_that_are_none_of_ours() -> None:
    assert look(whole(), damages.strange_names(whole())) > 50


def test_a_catalog_is_rebuilt_from_a_damaged_store_without_a_false_row(tmp_path: Path) -> None:
    """The real tables, for a few of each kind of damage."""
    number = 0
    for kind in KINDS:
        sources = (
            damages.flips(whole(), kind), damages.cuts(whole(), kind), damages.under_other_names(whole(), kind),
            damages.replays(whole(), older(), kind),
        )  # fmt: skip
        for source in sources:
            for damaged in list(source)[::200]:
                number += 1
                with Catalog.open(tmp_path / f"{number}.sqlite") as catalog:
                    rebuild(whole(), damaged, catalog, tmp_path / f"evidence-{number}")
                    require_true_rows(catalog, damaged)
    assert number > 15


def require_true_rows(catalog: Catalog, damaged: Damaged) -> None:
    true = {point.id: point for point in whole().points}
    for point in catalog.points.list():
        assert point.id in true, damaged.what
        assert (point.system, point.source, point.domain) == (
            true[point.id].system,
            true[point.id].source,
            true[point.id].domain,
        )
        assert point.copies == ("offsite",)
