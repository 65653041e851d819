"""A list that a screen has no room for says how many more there are and how to see them; ``--json`` has them all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from drbackup.cli.points import INSIDE_ON_A_SCREEN
from tests.integration.test_vault_commands import Typed, typing
from tests.support.cities.long_history import add_drills, add_points
from tests.support.cities.small_city import SOURCE, SYSTEM, SmallCity
from tests.support.runs import run_backup

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> SmallCity:
    """Seventy points and drills that only the catalog knows of, and one point with more files than a screen takes."""
    made = SmallCity(tmp_path_factory.mktemp("long"), module="drbackup_agent").build()
    for number in range(INSIDE_ON_A_SCREEN):
        (made.data / f"f{number:04}").write_bytes(b"x")
    with made.open() as installation:
        run_backup(installation, SYSTEM, SOURCE)
        add_points(installation.catalog, SYSTEM, SOURCE, [NOW - timedelta(minutes=each) for each in range(70)])
        add_drills(installation.catalog, SYSTEM, [NOW - timedelta(minutes=each) for each in range(70)])
    return made


@pytest.fixture
def typed(city: SmallCity, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    return typing(city, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("words", "member", "count"), [(("points", "list"), "points", 71), (("drill", "list"), "drills", 70)]
)
def test_a_long_list_says_what_is_left_and_json_has_all(
    typed: Typed, words: tuple[str, ...], member: str, count: int
) -> None:
    shown = typed(*words).out.splitlines()
    assert shown[-1] == f"… and {count - 50} more: --limit N shows more, --json all"
    assert len(shown) == 1 + 50 + 1
    assert len(typed(*words, "--limit", "100").out.splitlines()) == 1 + count
    document = typed(*words, "--json").document
    assert (len(document[member]), document["more"]) == (count, 0)
    document = typed(*words, "--limit", "3", "--json").document
    assert (len(document[member]), document["more"]) == (3, count - 3)


def test_a_chinese_reader_is_told_in_chinese(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRBACKUP_LANG", "zh_CN")
    assert typed("points", "list").out.splitlines()[-1] == "…… 还有 21 项：--limit N 显示更多，--json 显示全部"


def test_what_a_point_holds_is_told_whole_or_counted(typed: Typed, city: SmallCity) -> None:
    with city.open() as installation:
        point = next(point for point in installation.catalog.points.list() if not point.id.startswith("a0000"))
    shown = typed("points", "ls", point.id).out.splitlines()
    more = point.totals.entries - INSIDE_ON_A_SCREEN
    assert more > 0
    assert shown[-1] == f"… and {more} more: --limit N shows more, --json all"
    document = typed("points", "ls", point.id, "--json").document
    assert (len(document["entries"]), document["more"]) == (point.totals.entries, False)
    document = typed("points", "ls", point.id, "--limit", "2", "--json").document
    assert (len(document["entries"]), document["more"]) == (2, True)
