"""A scrub of a damaged store names what is damaged, proves what is whole and nothing else, and never ends otherwise."""

from __future__ import annotations

import itertools
import shutil
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from drbackup.controller.catalog import Catalog
from drbackup.controller.copies.scrub import scrub
from drbackup.controller.home.installation import Installation
from drbackup.model.inventory import StoreEntry
from tests.adversary import damages
from tests.adversary.damages import kind_of
from tests.adversary.test_damages import KINDS, older, whole
from tests.adversary.views import Damaged, needs, rebuild
from tests.adversary.whole_vault import NOON, STORE

MANY = 20 if damages.EVERYTHING else 70  # every so many-th damage is scrubbed: each needs a catalog of its own


@pytest.fixture(scope="module")
def catalog_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalog of the undamaged vault."""
    path = tmp_path_factory.mktemp("catalog") / "catalog.sqlite"
    with Catalog.open(path) as catalog:
        rebuild(whole(), Damaged("nothing", whole().store, frozenset()), catalog, path.parent / "evidence")
    return path


def some_damages() -> list[Damaged]:
    every = itertools.chain.from_iterable(
        source
        for kind in KINDS
        for source in (
            damages.flips(whole(), kind),
            damages.cuts(whole(), kind),
            damages.swaps(whole(), kind),
            damages.under_other_names(whole(), kind),
            damages.replays(whole(), older(), kind),
        )
    )
    return list(itertools.islice(every, 0, None, MANY))


def test_a_scrub_names_the_damage_and_proves_only_what_is_whole(catalog_file: Path, tmp_path: Path) -> None:
    for number, damaged in enumerate(some_damages()):
        path = tmp_path / f"{number}.sqlite"
        shutil.copy(catalog_file, path)
        with Catalog.open(path) as catalog:
            require_scrubbed(catalog, damaged)
        path.unlink()


def require_scrubbed(catalog: Catalog, damaged: Damaged) -> None:
    entry = StoreEntry.model_validate({"directory": {"path": "/nonexistent"}})
    fake = SimpleNamespace(
        catalog=catalog,
        signer=whole().signer,
        inventory=SimpleNamespace(stores={STORE: entry}),
        store=lambda _name: damaged.store,
    )
    report = scrub(cast(Installation, fake), STORE, now=lambda: NOON + timedelta(days=30))
    named = {damage.name for damage in report.damages}
    ours = {name for name in damaged.victims if name in whole().store.objects}
    lost_small = {name for name in ours if kind_of(name) in "ec" and name not in damaged.store.objects}
    assert ours - lost_small <= named, f"{damaged.what}: scrub names {sorted(named)}"
    assert named <= damaged.victims, f"{damaged.what}: scrub names {sorted(named - damaged.victims)}"
    expected = {point.id for point in whole().points if not needs(point, damaged)}
    assert set(report.proven) == expected, damaged.what
