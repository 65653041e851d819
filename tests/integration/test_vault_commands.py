"""``drbackup vault scrub``, ``repair`` and ``catch-up`` as a person types them: words, plans, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from drbackup.cli import main
from drbackup.controller.catalog.tables import pack_copies
from drbackup.model.point import Rung
from drbackup.system.instants import to_ns
from tests.support.cities.small_city import SYSTEM, SmallCity
from tests.support.cities.twin_city import Clock, both, build, contents, copy, flip, name_of, objects


@dataclass
class Answer:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Typed = Callable[..., Answer]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> SmallCity:
    return build(tmp_path_factory.mktemp("twin"))


@pytest.fixture
def city(template: SmallCity, tmp_path: Path) -> SmallCity:
    return copy(template, tmp_path)


@pytest.fixture
def typed(city: SmallCity, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    return typing(city, monkeypatch, capsys)


def typing(city: SmallCity, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    monkeypatch.setenv("DRBACKUP_HOME", str(city.home))
    monkeypatch.setenv("DRBACKUP_POLICIES", str(city.policies))

    def run(*words: str) -> Answer:
        code = main.run(list(words))
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    return run


def test_from_damage_to_whole_in_three_commands(city: SmallCity, typed: Typed) -> None:
    victim = max(objects(city, "other", "/p/"), key=lambda path: path.stat().st_size)
    before = contents(city, "other")
    flip(victim)
    name = name_of(city, "other", victim)
    found = typed("vault", "scrub")
    assert found.code == 1
    assert name in found.out
    assert "drbackup vault repair" in found.err
    status = typed("status")
    assert "drbackup vault repair other" in status.out
    plan = typed("vault", "repair")
    assert (plan.code, "--apply" in plan.out, "main" in plan.out) == (0, True, True)
    assert contents(city, "other") != before
    done = typed("vault", "repair", "--apply")
    assert done.code == 0, done.err
    assert contents(city, "other") == before
    assert typed("vault", "repair").out.startswith("✓")
    assert "drbackup vault repair" not in typed("status").out
    assert typed("vault", "scrub").code == 0


def test_what_is_whole_nowhere_ends_with_1_and_a_part_with_3(city: SmallCity, typed: Typed) -> None:
    victim = max(objects(city, "main", "/p/"), key=lambda path: path.stat().st_size)
    name = name_of(city, "main", victim)
    for store in ("main", "other"):
        flip(city.root / f"store-{store}" / name)
    typed("vault", "scrub")
    assert typed("vault", "repair").code == 1
    alone = typed("vault", "repair", "--apply", "--json")
    assert alone.code == 1
    assert {each["name"] for each in alone.document["failed"]} == {name}
    next(objects(city, "other", "/t/")).unlink()
    part = typed("vault", "repair", "--apply", "--json")
    assert part.code == 3
    assert len(part.document["mended"]) == 1
    (point, *_) = part.document["failed"][0]["points"]
    assert point[:12] in part.document["error"]["message"]


@pytest.fixture
def lonely(tmp_path: Path) -> SmallCity:
    """Two points in one store alone."""
    return build(tmp_path, copies="main")


def test_no_repair_is_recommended_where_no_second_copy_could_mend(
    lonely: SmallCity, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = typing(lonely, monkeypatch, capsys)
    for path in objects(lonely, "main", "/p/"):
        flip(path)
    again = f"drbackup backup {SYSTEM}/"
    (found, status, plan, done) = (
        said(*words) for words in (("vault", "scrub"), ("status",), ("vault", "repair"), ("vault", "repair", "--apply"))
    )
    for answer in (found, status, plan, done):
        assert "drbackup vault repair" not in answer.out + answer.err
        assert "--apply" not in answer.out + answer.err
        assert again in answer.out + answer.err
    assert (found.code, status.code, plan.code, done.code) == (1, 20, 1, 1)
    assert "every committed recovery point is untouched" not in status.err
    assert "every promise holds" not in status.out


def test_damage_that_nothing_needs_is_named_and_sends_nobody_to_a_repair(city: SmallCity, typed: Typed) -> None:
    flip(next(objects(city, "main", "/i/")))
    found = typed("vault", "scrub", "main")
    assert found.code == 1
    assert "no point needs it" in found.out
    assert "nothing is to be done" in found.err
    assert "damaged" not in typed("status").out
    assert typed("vault", "repair").out.startswith("✓")


def test_a_store_that_is_away_hides_nothing_of_the_others(city: SmallCity, typed: Typed) -> None:
    """``main`` comes first in the inventory; it is the one that is away."""
    flip(next(objects(city, "other", "/p/")))
    (city.root / "store-main").rename(city.root / "unmounted")
    found = typed("vault", "scrub")
    assert found.code == 1  # damage is worse than a store that is away
    assert "✗ other" in found.out
    assert "! main: there is no vault" in found.out
    assert typed("vault", "scrub", "main").code == 10
    nowhere = typed("vault", "repair", "main")
    assert "✓" not in nowhere.out
    assert "mounted" in nowhere.err


def test_a_scrub_of_what_could_be_read_ends_with_3(city: SmallCity, typed: Typed) -> None:
    (city.root / "store-main").rename(city.root / "unmounted")
    part = typed("vault", "scrub", "--json")
    assert (part.code, [each["store"] for each in part.document["stores"]]) == (3, ["other"])
    assert list(part.document["away"]) == ["main"]


def test_the_list_of_points_says_which_are_damaged_and_in_which_store(city: SmallCity, typed: Typed) -> None:
    assert "damaged" not in typed("points", "list").out
    with city.open() as installation:
        older, newer = both(installation)
    for store in ("main", "other"):
        flip(next(objects(city, store, newer)))
        typed("vault", "scrub", store)
        first, second = typed("points", "list").out.splitlines()[1:]
        assert (newer[:12] in first, older[:12] in second) == (True, True)
        assert f"{store} (damaged)" in first
        assert "damaged" not in second
    assert "written" not in first
    assert typed("points", "list", "--json").document["damaged"] == {newer: ["main", "other"]}


def test_a_store_that_is_away_is_named_before_anything_is_given_up(city: SmallCity, typed: Typed) -> None:
    flip(max(objects(city, "main", "/p/"), key=lambda path: path.stat().st_size))
    typed("vault", "scrub", "main")
    (city.root / "store-other").rename(city.root / "unmounted")
    answer = typed("vault", "repair")
    assert answer.code == 1
    assert "whole in no store that answers" in answer.out
    assert "other could not be read and may have it whole" in answer.err


def test_points_show_says_of_each_copy_when_it_was_read_back(city: SmallCity, typed: Typed) -> None:
    assert typed("vault", "scrub", "main").code == 0
    flip(next(objects(city, "other", "/t/")))
    typed("vault", "scrub", "other")
    with city.open() as installation:
        points = both(installation)
        rungs = {point.id: point.rung for point in installation.catalog.points.list()}
    told = {}
    for point in points:
        shown = typed("points", "show", point, "--json").document
        told[point] = {each["store"]: each for each in shown["read_back"]}
        assert told[point]["main"]["read_at"]
        assert told[point]["other"]["damaged"] == (rungs[point] is Rung.WRITTEN)
    assert any(each["other"]["damaged"] for each in told.values())
    hurt = next(point for point in points if told[point]["other"]["damaged"])
    text = typed("points", "show", hurt).out
    assert "other (damaged)" in text
    assert "main (read back" in text


def test_a_rolling_scrub_says_how_much_was_read_and_what_is_longest_unread(city: SmallCity, typed: Typed) -> None:
    answer = typed("vault", "scrub", "main", "--days", "30", "--rate", "50MB/s", "--json")
    (store,) = answer.document["stores"]
    covered = store["coverage"]
    assert (covered["within_seconds"], covered["ever_read"]) == (30 * 86_400, False)
    assert 0 < covered["packs_read"] < covered["packs"]
    assert len(covered["longest_unread"]) == 64
    text = typed("vault", "scrub", "main", "--days", "30").out
    assert "never read" in text


def test_check_says_when_a_copy_was_not_read_back_in_time(city: SmallCity, typed: Typed) -> None:
    assert "not read back" not in typed("check", "--no-agents").out
    with city.open() as installation, installation.catalog.database.write() as connection:
        long_ago = Clock().at - timedelta(days=45)
        connection.execute(update(pack_copies).where(pack_copies.c.store == "other").values(stored_ns=to_ns(long_ago)))
    said = typed("check", "--no-agents")
    assert said.code == 0
    assert "not read back for 45 d" in said.out
    assert "drbackup vault scrub other" in said.out
    assert typed("vault", "scrub", "other").code == 0
    assert "not read back" not in typed("check", "--no-agents").out


@pytest.mark.parametrize(
    "words",
    [
        ("vault", "scrub", "--rate", "fast"),
        ("vault", "scrub", "--unread-for", "12"),
        ("vault", "scrub", "--days", "0"),
        ("vault", "scrub", "--days", "3", "--system", SYSTEM),
        ("vault", "repair", "offsite"),
        ("vault", "catch-up", "offsite"),
    ],
)
def test_wrong_words_end_with_2_and_start_nothing(typed: Typed, words: tuple[str, ...]) -> None:
    assert typed(*words).code == 2


def test_catch_up_brings_what_is_lacking_and_says_so(city: SmallCity, typed: Typed) -> None:
    stores = f"  third: {{directory: {{path: {city.root}/store-third}}}}\n"
    city.stores, city.copies = stores, "main, other, third"
    city.write_policies()
    behind = typed("vault", "catch-up")
    assert behind.code == 3
    assert "no vault" in behind.err
    assert typed("keys", "seal").code == 0
    assert "drbackup vault catch-up third" in typed("status").out
    done = typed("vault", "catch-up", "--json")
    assert (done.code, len(done.document["stores"][0]["copied"])) == (0, 2)
    assert typed("vault", "catch-up").out.startswith("✓")
    assert typed("vault", "scrub", "third").code == 0


def test_a_store_that_could_not_be_looked_at_ends_with_3(city: SmallCity, typed: Typed) -> None:
    (city.root / "store-other").rename(city.root / "unmounted")
    answer = typed("vault", "repair")
    assert answer.code == 3
    assert "other" in answer.err
    assert typed("vault", "repair", "main").code == 0
    assert typed("vault", "repair", "other").code == 10
    assert not (city.root / "store-other").exists()


def test_status_check_and_report_name_the_same_needs(city: SmallCity, typed: Typed) -> None:
    flip(next(objects(city, "main", "/p/")))
    assert typed("vault", "scrub", "main").code != 0
    status = typed("status", "--json").document["needs"]
    checks = typed("check", "--no-agents", "--json").document["checks"]
    month = typed("report", "month", "--json").document["needs"]
    codes = sorted(need["code"] for need in status)
    assert "copy-damaged" in codes
    assert sorted(line["code"] for line in checks if line["code"]) == codes
    assert sorted(need["code"] for need in month) == codes
