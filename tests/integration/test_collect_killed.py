"""A collect that is killed at any step: nothing needed is lost, and the next collects end what it began."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from drbackup.controller.catalog.lifecycle import Lifecycle
from drbackup.controller.collect.collect import Collector
from drbackup.controller.evidence import verify_folder, verify_stores
from drbackup.controller.home.installation import Installation
from drbackup.controller.rebuild.keys import keys_for_rebuild
from drbackup.controller.rebuild.rebuild import rebuild
from drbackup.stores.folder.erase import DirectoryEraser
from drbackup.stores.folder.store import DirectoryStore
from tests.support.cities.collected_city import AT_LAST, LATER, TwoPoints, collect, objects, packs_of, records

#: Everything that outlives a process: the catalog's writes, the stores' objects.
STEPS: tuple[tuple[type, str], ...] = (
    (Lifecycle, "mark"),
    (Lifecycle, "unmark"),
    (Lifecycle, "removed"),
    (Lifecycle, "lock_record"),
    (Lifecycle, "pardon"),
    (Lifecycle, "retire"),
    (Lifecycle, "condemn"),
    (Lifecycle, "erased"),
    (DirectoryStore, "put"),
    (DirectoryEraser, "erase"),
)
MOST = 60


class Killed(BaseException):
    """The process is gone."""


class Reaper:
    """Kills at the ``at``-th step, before or after it is done; whatever comes then is killed as well."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, *, after: bool) -> None:
        self.left = at
        self.after = after
        self.reached: list[str] = []
        for owner, name in STEPS:
            monkeypatch.setattr(owner, name, self._fatal(getattr(owner, name), f"{owner.__name__}.{name}"))

    def _fatal(self, real: Callable[..., Any], what: str) -> Callable[..., Any]:
        def step(*given: Any, **named: Any) -> Any:
            self.left -= 1
            self.reached.append(what)
            if self.left < 0 or (self.left == 0 and not self.after):
                raise Killed(what)
            answer = real(*given, **named)
            if self.left == 0:
                raise Killed(what)
            return answer

        return step


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> TwoPoints:
    return TwoPoints.make(tmp_path_factory.mktemp("two"))


def killed_at(two: TwoPoints, at: int, when: str, *, after: bool) -> bool:
    """Whether a collect was killed there. ``when``: the phase, first or last."""
    two.put_back()
    with two.city.open() as installation:
        if when == "last":
            collect(installation, LATER)
        with pytest.MonkeyPatch.context() as patched:
            reaper = Reaper(patched, at, after=after)
            try:
                collect(installation, LATER if when == "first" else AT_LAST)
            except Killed:
                return True
            assert reaper.reached
    return False


def require_whole(installation: Installation, two: TwoPoints) -> None:
    """What must hold at any moment."""
    for store in ("main", "other"):
        assert two.new.id in records(installation, store)
        assert packs_of(installation, two.new, store) <= objects(installation, store)
        if two.old.id in records(installation, store):
            assert packs_of(installation, two.old, store) <= objects(installation, store)
    assert two.new.id in {point.id for point in installation.catalog.points.list()}


@pytest.mark.parametrize("when", ["first", "last"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_step_the_next_collects_end_what_was_begun(made: TwoPoints, when: str, after: bool) -> None:
    at = 0
    while killed_at(made, at := at + 1, when, after=after):
        assert at < MOST
        with made.city.open() as installation:
            require_whole(installation, made)
            for later in (LATER, AT_LAST):
                collect(installation, later)
                require_whole(installation, made)
            for store in ("main", "other"):
                assert records(installation, store) == {made.new.id}
                left = {name for name in objects(installation, store) if "/i/" not in name}
                assert left == packs_of(installation, made.new)
            assert not installation.catalog.lifecycle.marked()
            assert verify_folder(installation.evidence_folder, installation.signer.public).good
            assert all(report.good for report in verify_stores(installation).values())
        assert made.city.read(made.new.id, "other")[b"a"] == b"new" * 1000 + b"a"
    assert at > 4


def test_killed_at_any_step_a_rebuilt_catalog_is_without_fault(made: TwoPoints) -> None:
    """The worst day: a collect dies, and with it the catalog."""
    for at in (1, 2, 3, 4, 5, 6):
        assert killed_at(made, at, "first", after=True)
        with made.city.open() as installation:
            stores = {name: installation.store(name) for name in ("main", "other")}
        (made.city.home / "catalog.sqlite").rename(made.city.home / "lost.sqlite")
        keys = keys_for_rebuild(made.city.home, stores, None)
        report = rebuild(made.city.home, keys, stores, now=LATER, watch=lambda *_: None)
        assert report.faults == (), at
        with made.city.open() as installation:
            for later in (LATER, AT_LAST):
                collect(installation, later)
                require_whole(installation, made)
            assert records(installation, "main") == {made.new.id}


def test_every_step_that_changes_anything_was_tried() -> None:
    """A method that is added to what outlives a process belongs into the list above."""
    changing = {name for name in vars(Lifecycle) if not name.startswith("_")}
    reading = {"copies", "condemned", "unreliable", "still_condemned", "locks", "marked"}
    tried = {name for owner, name in STEPS if owner is Lifecycle}
    assert changing - reading - {"lock"} == tried
    assert Collector.apply.__doc__
