"""What is required, imported, locked and explained is one and the same."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from drbackup.fleet.bundle import BUNDLED, our_modules
from tests.unit.test_documents_stay_true import HERE

PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text("utf-8"))["project"]
RUNTIME = {canonicalize_name(need.name): need for need in map(Requirement, PROJECT["dependencies"])}
DEVELOPMENT = {canonicalize_name(Requirement(line).name) for line in PROJECT["optional-dependencies"]["dev"]}
PAGE = (HERE / "docs" / "dependencies.md").read_text("utf-8")
NEVER_IMPORTED = {"tzdata"}  # the standard library reads it
BROUGHT_ALONG = {"botocore": "boto3", "markupsafe": "jinja2", "pydantic-core": "pydantic"}  # parts of what is required
BRINGS_ITSELF = {"pip", "setuptools"}  # an environment's own, of any version; shiv asks for them
NEXT_CAN_HURT = {"msgspec", "pyfastcdc", "shiv"}


def locked() -> dict[str, tuple[str, int]]:
    """Of each package in the lock file its version and how many files it may come as."""
    text = (HERE / "requirements.lock").read_text("utf-8").replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    assert all(word.startswith("--hash=sha256:") for line in lines for word in line[1:])
    return {
        canonicalize_name(line[0].partition("==")[0]): (line[0].partition("==")[2], len(line) - 1) for line in lines
    }


def installed_closure() -> dict[str, list[Requirement]]:
    """Everything the installed distributions need to run drbackup, with what each asker asked for."""
    asked: dict[str, list[Requirement]] = {}
    pending = list(RUNTIME.values())
    while pending:
        need = pending.pop()
        if need.marker is not None and not any(need.marker.evaluate({"extra": extra}) for extra in ("", *need.extras)):
            continue
        name = canonicalize_name(need.name)
        if name not in asked:
            extras = ("", *need.extras)
            for line in importlib.metadata.distribution(name).requires or ():
                deeper = Requirement(line)
                if deeper.marker is None or any(deeper.marker.evaluate({"extra": extra}) for extra in extras):
                    deeper.marker = None
                    pending.append(deeper)
        asked.setdefault(name, []).append(need)
    return asked


def imported(files: list[Path]) -> set[str]:
    """The distributions that the files import, also inside functions."""
    providers = importlib.metadata.packages_distributions()
    tops = {
        name.partition(".")[0]
        for file in files
        for node in ast.walk(ast.parse(file.read_bytes()))
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import) else
            [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        )
    }  # fmt: skip
    return {canonicalize_name(provider) for top in tops for provider in providers.get(top, [])} - {"drbackup"}


def table(heading: str) -> dict[str, str]:
    """Package → who uses it, as the page's section says."""
    section = PAGE.partition(f"\n## {heading}")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {canonicalize_name(re.findall(r"`([^`]+)`", row[0])[0]): row[2] for row in rows}


def test_the_page_names_every_dependency_and_no_other() -> None:
    agent, centre = table("Agent"), table("Backup centre")
    assert set(agent) == set(BUNDLED)
    assert not set(agent) & set(centre)
    assert set(agent) | set(centre) == set(RUNTIME)
    development = PAGE.partition("\n## Development")[2]
    assert {name for name in DEVELOPMENT if f"`{name}`" not in development.lower()} == set()


@pytest.mark.parametrize(("name", "user"), [*table("Agent").items(), *table("Backup centre").items()])
def test_who_is_said_to_use_it_does(name: str, user: str) -> None:
    if name not in NEVER_IMPORTED:
        assert name in imported([HERE / user.strip("`")])


def test_the_agents_file_carries_what_the_agent_imports_and_nothing_else() -> None:
    assert imported(list(our_modules().values())) == set(BUNDLED)


def test_whatever_the_product_imports_it_requires() -> None:
    files = [*(HERE / "drbackup").rglob("*.py"), *(HERE / "agents").rglob("*.py")]
    found = {BROUGHT_ALONG.get(name, name) for name in imported(files)} - {"boto3-stubs", "mypy-boto3-s3"}
    assert found == set(RUNTIME) - NEVER_IMPORTED


@pytest.mark.parametrize("name", sorted(NEXT_CAN_HURT))
def test_what_a_new_version_could_cost_a_city_is_bounded_above(name: str) -> None:
    assert any(clause.operator == "<" for clause in RUNTIME[name].specifier)


def test_the_lock_file_is_all_that_drbackup_needs_with_hashes_and_nothing_else() -> None:
    closure, lock = installed_closure(), locked()
    assert set(lock) == set(closure)
    assert all(files for _, files in lock.values())
    for name, needs in closure.items():
        version = Version(lock[name][0])
        assert all(need.specifier.contains(version) for need in needs), (name, version, needs)
        if name not in BRINGS_ITSELF:
            assert importlib.metadata.version(name) == lock[name][0]


def test_the_lock_file_and_the_constraints_say_the_same() -> None:
    lines = (HERE / "constraints.txt").read_text("utf-8").split()
    pinned = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    lock = {name: version for name, (version, _) in locked().items() if name not in BRINGS_ITSELF}
    assert {name: pinned.get(name) for name in lock} == lock


def test_no_file_of_versions_names_a_place_to_fetch_from() -> None:
    for name in ("requirements.lock", "constraints.txt"):
        assert not re.search(r"https?:|--(?:index|extra-index|find|trusted)", (HERE / name).read_text("utf-8"))
