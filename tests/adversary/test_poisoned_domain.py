"""The day after: a server that was in an enemy's hands is honest again, and its vault remembers the enemy's chunks.

A chunk's name is made on the server, and the backup centre can't open contents, so it can't tell a chunk that does not
hold what its name says. Nothing wrong is ever restored from one, a restore or a drill finds it, and a new epoch in the
inventory makes every later point sound. Another server's points were never touched.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from drbackup.controller.rebuild import rebuild as rebuilding
from drbackup.controller.rebuild.keys import keys_for_rebuild
from drbackup.errors import ObjectCorrupt, PacksMissing, RestoreMismatch
from drbackup.stores.folder.store import DirectoryStore
from tests.support.cities.small_city import SOURCE, SYSTEM, SmallCity
from tests.support.runs import run_backup

TRUE = {b"a": b"alpha" * 1000, b"b": b"beta" * 2000}


def raise_epoch(city: SmallCity) -> None:
    inventory = city.policies / "inventory.yaml"
    inventory.write_text(inventory.read_text().replace("state_folder:", "epoch: 1, state_folder:", 1))


@pytest.mark.parametrize("poison", ["content", "places"])
def test_a_poisoned_name_is_found_by_a_restore_and_left_behind_by_a_new_epoch(
    tmp_path: Path, poison: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    city = SmallCity(tmp_path, module="tests.support.doubles.poisoning_agent").build()
    monkeypatch.setenv("POISON", poison)
    with city.open() as installation:
        run_backup(installation, SYSTEM, SOURCE)
        monkeypatch.setenv("POISON", "")
        misled = run_backup(installation, SYSTEM, SOURCE)
        assert misled.totals.new_bytes == 0  # it relied on names that the enemy gave
    with pytest.raises((RestoreMismatch, ObjectCorrupt)):  # refused: never the enemy's bytes
        city.read(misled.id)
    raise_epoch(city)
    with city.open() as installation:
        sound = run_backup(installation, SYSTEM, SOURCE)
        assert sound.totals.new_bytes == sum(map(len, TRUE.values()))
        again = run_backup(installation, SYSTEM, SOURCE)
        assert again.totals.new_bytes == 0
    assert city.read(sound.id) == city.read(again.id) == TRUE


def test_contents_that_an_enemy_stored_as_a_tree_keep_no_later_run_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    city = SmallCity(tmp_path, module="tests.support.doubles.poisoning_agent").build()
    monkeypatch.setenv("POISON", "kinds")
    with city.open() as installation:
        with pytest.raises(PacksMissing):
            run_backup(installation, SYSTEM, SOURCE)
        monkeypatch.setenv("POISON", "")
        point = run_backup(installation, SYSTEM, SOURCE)
    assert city.read(point.id) == TRUE


def test_an_epoch_is_left_behind_after_a_rebuild_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the enemy stored is in the store for good, and a rebuilt catalog knows it again."""
    city = SmallCity(tmp_path, module="tests.support.doubles.poisoning_agent").build()
    monkeypatch.setenv("POISON", "content")
    with city.open() as installation:
        run_backup(installation, SYSTEM, SOURCE)
        old = installation.domain_keys("db1.bureau", "main")
    monkeypatch.setenv("POISON", "")
    raise_epoch(city)
    with city.open() as installation:
        new = installation.domain_keys("db1.bureau", "main")
        assert old.chunk_id_key != new.chunk_id_key
        assert old.cut_key != new.cut_key
        assert old.recipients == new.recipients
    (city.home / "catalog.sqlite").unlink()
    stores = {"main": DirectoryStore("main", city.root / "store-main")}
    keys = keys_for_rebuild(city.home, stores, None)
    report = rebuilding.rebuild(city.home, keys, stores, now=datetime.now(UTC), watch=lambda *_: None)
    assert report.faults == ()
    with city.open() as installation:
        point = run_backup(installation, SYSTEM, SOURCE)
        assert point.totals.new_bytes == sum(map(len, TRUE.values()))
    assert city.read(point.id) == TRUE
