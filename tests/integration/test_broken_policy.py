"""At three in the morning a colleague's half-edited policy keeps nobody from bringing data back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from drbackup.cli import main
from drbackup.controller.collect.setup import collector
from drbackup.controller.home.installation import Installation
from drbackup.errors import PolicyError
from tests.support.cities.small_city import SOURCE, SYSTEM, SmallCity

PLACE = f"{SYSTEM}/{SOURCE}"
Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def city(tmp_path: Path) -> SmallCity:
    """Two systems with a point each; ``tax`` needs ``registry`` first."""
    city = SmallCity(tmp_path, module="drbackup_agent").build()
    text = (city.policies / f"{SYSTEM}.yaml").read_text().replace(f"system: {SYSTEM}", "system: tax")
    text = text.replace("rto: 8h", "rto: 12h")
    (city.policies / "tax.yaml").write_text(text + f"depends_on: [{SYSTEM}]\n")
    lone = text.replace("system: tax", "system: water")
    (city.policies / "water.yaml").write_text(lone)
    return city


@pytest.fixture
def typed(city: SmallCity, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    monkeypatch.setenv("DRBACKUP_HOME", str(city.home))
    monkeypatch.setenv("DRBACKUP_POLICIES", str(city.policies))

    def run(*words: str) -> tuple[int, str, str]:
        code = main.run(list(words))
        return code, *capsys.readouterr()

    assert run("backup", "--all")[0] == 0
    return run


def half_edit(city: SmallCity) -> None:
    file = city.policies / f"{SYSTEM}.yaml"
    file.write_text(file.read_text() + "drill: {every: month, on\n  checks:\n")


@pytest.mark.parametrize(
    "words",
    [
        "points list",
        f"points show {PLACE}",
        f"points ls {PLACE}",
        "evidence list",
        "evidence verify",
        "keys show",
        "vault scrub",
        "vault repair",
        "drill list",
        f"restore {PLACE} --to @",
        f"restore water/{SOURCE} --to @",
        f"restore water/{SOURCE} --in-place",
        "backup water tax",
        "recover water --to @",
    ],
)
def test_what_reads_or_brings_back_works_with_one_warning(
    city: SmallCity, typed: Typed, tmp_path: Path, words: str
) -> None:
    half_edit(city)
    code, _out, err = typed(*words.replace("@", str(tmp_path / "back")).split())
    assert code == 0, err
    (warning,) = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert f"{SYSTEM}.yaml:" in warning
    assert f"drill of {SYSTEM}" in warning


def test_the_data_of_the_broken_system_comes_back_whole(city: SmallCity, typed: Typed, tmp_path: Path) -> None:
    half_edit(city)
    assert typed("restore", PLACE, "--to", str(tmp_path / "back"))[0] == 0
    back = {file.name: file.read_bytes() for file in (tmp_path / "back").rglob("*") if file.is_file()}
    assert back == {file.name: file.read_bytes() for file in city.data.iterdir()}
    (city.policies / f"{SYSTEM}.yaml").unlink()  # and without any policy
    point = json.loads(typed("points", "list", PLACE, "--json")[1])["points"][0]["id"]
    assert typed("restore", point, "--to", str(tmp_path / "again"))[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        f"backup {PLACE}",
        f"drill run {SYSTEM}",
        f"restore {PLACE} --in-place",
        "recover tax",
        f"recover {SYSTEM}",
        "vault collect",
        "vault collect --apply",
        "report month",
    ],
)
def test_what_needs_the_broken_policy_refuses_and_names_the_line(city: SmallCity, typed: Typed, words: str) -> None:
    half_edit(city)
    code, _out, err = typed(*words.split())
    assert code == 2
    assert "not YAML" in err
    assert f"{SYSTEM}.yaml:" in err.split("failed: ")[-1]


def test_the_service_does_not_start_and_names_the_line(city: SmallCity, typed: Typed) -> None:
    half_edit(city)
    # A process of its own: the command becomes the service, so it can't be called in ours.
    daemon = [sys.executable, "-m", "drbackup.cli.main", "--json", "daemon", "--once"]
    ended = subprocess.run(daemon, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "not YAML" in ended.stderr
    assert f"{SYSTEM}.yaml:" in ended.stderr.split("failed: ")[-1]
    assert json.loads(ended.stdout)["error"]["code"] == "PolicyError"


def test_all_is_never_said_of_less_than_all(city: SmallCity, typed: Typed, tmp_path: Path) -> None:
    half_edit(city)
    code, out, err = typed("backup", "--all", "--json")
    assert code == 3
    assert {each["place"] for each in json.loads(out)["backups"]} == {f"tax/{SOURCE}", f"water/{SOURCE}"}
    assert f"{SYSTEM} was left out" in err
    code, out, err = typed("recover", "--all", "--to", str(tmp_path / "back"), "--apply", "--json")
    assert code == 3
    assert [each["system"] for each in json.loads(out)["systems"]] == ["water"]
    assert "tax was left out, it needs registry first" in err


def test_the_status_counts_a_broken_policy_as_a_finding(city: SmallCity, typed: Typed) -> None:
    assert typed("status")[0] == 0
    half_edit(city)
    code, out, err = typed("status")
    assert code == 20
    assert "every promise holds" not in out
    assert f"✗ {SYSTEM} its policy is broken" in out
    assert f"promise not known: {SYSTEM}" in err


def test_a_broken_level_table_breaks_only_what_leans_on_it(city: SmallCity, typed: Typed, tmp_path: Path) -> None:
    (table,) = (city.policies / "levels").glob("*.yaml")
    table.write_text("levels: [\n")
    assert typed("restore", PLACE, "--to", str(tmp_path / "back"))[0] == 0
    assert typed("backup", SYSTEM)[0] == 0  # its objectives are its own


def test_a_broken_inventory_is_fatal(city: SmallCity, typed: Typed) -> None:
    (city.policies / "inventory.yaml").write_text("stores: [\n")
    code, _out, err = typed("points", "list")
    assert code == 2
    assert "inventory.yaml:" in err


def test_nobody_collects_by_half_of_the_policies(city: SmallCity) -> None:
    half_edit(city)
    with (
        Installation.open(city.home, city.policies, broken_policies=True) as installation,
        pytest.raises(PolicyError),
    ):
        collector(installation, (), lambda: pytest.fail("nothing is judged"))
    with pytest.raises(PolicyError):
        Installation.open(city.home, city.policies)
