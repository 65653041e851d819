"""A kind that the product does not know works everywhere once its rooms stand and the lists name it.

Nothing of the product is replaced: the real command and real agents run, each with lines more in its lists.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.cities.site import Site

REPOSITORY = Path(__file__).parents[2]
TEXT = "".join(f"第{number}行\n" for number in range(40))
NOTEBOOK = [{"source": "notes", "sql": "how many", "expect": {"equals": 40}}, {"source": "notes", "counts": "match"}]


def program(module: str, *words: str) -> list[str]:
    """A module of ours as a program, wherever it is started."""
    run = f"runpy.run_module('tests.support.doubles.dummy_kinds.{module}', run_name='__main__')"
    return [sys.executable, "-c", f"import runpy, sys; sys.path[:0] = [{str(REPOSITORY)!r}]; {run}", *words]


class DummySite(Site):
    """A site whose command and agents know the dummy kinds."""

    @property
    def page(self) -> Path:
        return self.folder / "data" / "notes.txt"

    def command(self, *words: str) -> list[str]:
        return program("command", *words)

    def agents(self) -> dict[str, Any]:
        return {name: {**agent, "command": program("agent", "serve")} for name, agent in super().agents().items()}

    def stores(self) -> dict[str, Any]:
        return {"offsite": {"shelf": {"board": str(self.folder / "shelf")}, "prefix": "city/"}}

    def describe(self, checks: list[dict[str, Any]], **changes: Any) -> None:
        """The policy of one notebook, drilled by these checks."""
        sources = [{"name": "notes", "agent": "db1", "notebook": {"page": str(self.page)}}]
        self.write(sources=sources, drill={"every": "month", "on": "drill1", "checks": checks}, **changes)


@pytest.fixture
def site(tmp_path: Path) -> DummySite:
    site = DummySite(tmp_path)
    site.page.parent.mkdir()
    site.page.write_text(TEXT, encoding="utf-8")
    site.describe(NOTEBOOK)
    site.found()
    return site


def test_a_new_kind_of_source_is_backed_up_and_comes_back_where_it_lives(site: DummySite) -> None:
    site.good("backup", "--all")
    site.page.write_text("torn out\n", encoding="utf-8")
    plan = site.good("restore", "registry/notes", "--in-place", "--json")
    assert plan.document["plan"]["to"] == f"notebook notebook {site.page} @ db1"
    refused = site.run("restore", "registry/notes", "--in-place", "--apply")
    assert refused.code == 1
    assert "exists" in refused.err
    site.good("restore", "registry/notes", "--in-place", "--replace", "--apply")
    assert site.page.read_text(encoding="utf-8") == TEXT
    target = site.folder / "out"
    site.good("restore", "registry/notes", "--to", str(target))
    assert (target / "lines").read_text(encoding="utf-8") == TEXT


def test_a_new_kind_of_source_is_drilled_and_stands_in_the_page(site: DummySite) -> None:
    site.good("backup", "--all")
    done = site.good("drill", "run", "registry", "--json")  # without a canary: passed with conditions
    assert "conditional" in done.out
    shown = site.good("drill", "show", "registry", "--json").out
    assert "40" in shown
    (page,) = site.home.rglob("*.html")
    text = page.read_text(encoding="utf-8")
    assert "1 tables, 40 rows" in text
    assert "纸张" in text
    assert "A5" in text


def test_a_new_kind_of_source_stands_in_the_reference_the_findings_and_the_sheet(site: DummySite) -> None:
    assert '"NotebookPolicy"' in site.good("policy", "schema").out
    checked = site.run("policy", "check")
    assert "'notes' is a notebook" in checked.out + checked.err
    site.good("report", "sheets", "--to", str(site.folder / "sheets"))
    (sheet,) = (site.folder / "sheets").glob("*.html")
    assert f"cat notes/lines &gt; {site.page}" in sheet.read_text(encoding="utf-8")


def test_an_agent_that_lacks_a_kind_says_so(site: DummySite) -> None:
    inventory = yaml.safe_load((site.policies / "inventory.yaml").read_text(encoding="utf-8"))
    del inventory["agents"]["db1"]["command"]
    (site.policies / "inventory.yaml").write_text(yaml.safe_dump(inventory, allow_unicode=True), encoding="utf-8")
    refused = site.run("backup", "--all", "--json")
    assert refused.code == 1
    assert "no source of kind notebook" in refused.out
    assert "deploy the controller" in refused.out


def test_a_new_kind_of_store_is_probed_backed_up_into_and_read_back(site: DummySite) -> None:
    (probed,) = site.good("store", "probe", "--json").document["stores"]
    assert probed["ok"]
    assert [line["detail"] for line in probed["promises"] if line["promise"] == "boxes stand straight"] == [
        f"on {site.folder / 'shelf'}"
    ]
    site.good("backup", "--all")
    assert any("%2Fr%2Fregistry%2F" in path.name for path in (site.folder / "shelf").iterdir())
    site.good("vault", "scrub")
    site.good("vault", "collect", "--apply")
    site.good("report", "sheets", "--to", str(site.folder / "sheets"))
    (sheet,) = (site.folder / "sheets").glob("*.html")
    assert f"carry {site.folder / 'shelf'} city/ store" in sheet.read_text(encoding="utf-8")
    assert "书架" in sheet.read_text(encoding="utf-8")


def test_a_new_kind_of_check_is_asked_measured_judged_and_stands_in_the_page(site: DummySite) -> None:
    site.good("backup", "--all")
    site.describe([{"source": "notes", "pages": 2}])
    done = site.good("drill", "run", "registry", "--json")
    assert "conditional" in done.out  # no canary: nothing worse
    site.describe([{"source": "notes", "pages": 3}])
    failed = site.run("drill", "run", "registry", "--json")
    assert failed.code == 21
    assert "2 is not 3" in failed.out
    passed, refuted = sorted(path.read_text(encoding="utf-8") for path in site.home.rglob("*.html"))
    if "= 3" in passed:
        passed, refuted = refuted, passed
    assert "页数" in passed
    assert "= 2" in passed
    assert "= 3" in refuted


def test_a_new_kind_of_check_is_refused_where_it_does_not_fit(site: DummySite) -> None:
    scans = {"name": "scans", "agent": "db1", "files": {"paths": [str(site.folder)]}}
    site.write(sources=[scans], drill={"every": "month", "on": "drill1", "checks": [{"source": "scans", "pages": 1}]})
    refused = site.run("policy", "check")
    assert refused.code == 2
    assert "only a notebook has pages" in refused.out + refused.err
