"""Pages that point into the project point at something that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from drbackup.errors import all_errors

HERE = Path(__file__).parents[2]
PAGES = [HERE / "README.md", HERE / "README.zh.md", *sorted((HERE / "docs").rglob("*.md")), *HERE.glob("*/README.md")]
ROOTS = ("drbackup/", "agents/", "docs/", "policies/", "systemd/", "tests/")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HERE)))
def test_every_path_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"`([\w./-]+)`", page.read_text(encoding="utf-8"))
    paths = [name for name in named if name.startswith(ROOTS) and not name.startswith("drbackup/1/")]  # labels of keys
    assert [name for name in paths if not (HERE / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HERE)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = sorted(int(path.name[:4]) for path in (HERE / "docs" / "adr").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_error_has_a_hint_and_says_what_is_safe() -> None:
    for kind in all_errors().values():
        assert kind.hint
        assert kind.safe
        assert kind.exit_code in {1, 2, 3, 10, 12, 20, 21, 130}
