"""Kinds describe themselves: no production file knows one by name but its own rooms and the lists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from drbackup.model.checks.kinds import CHECK_KINDS as IN_DRILLS
from drbackup.model.sources.kinds import SOURCE_KINDS as IN_POLICIES
from drbackup.model.stores.kinds import STORE_PLACES
from drbackup.stores.folder.store import DirectoryStore
from drbackup.stores.registry import STORE_KINDS
from drbackup.stores.s3.store import S3Store
from drbackup_agent.drill.checks.kinds import CHECK_KINDS as MEASURED
from drbackup_agent.sources.kinds import SOURCE_KINDS as ON_AGENTS

ROOT = Path(__file__).parents[2]
OWN = (  # the kinds' rooms, their models, the lists
    "agents/drbackup_agent/sources/files/",
    "agents/drbackup_agent/sources/sqlite/",
    "agents/drbackup_agent/sources/postgres/",
    "agents/drbackup_agent/sources/command.py",
    "agents/drbackup_agent/sources/kinds.py",
    "agents/drbackup_agent/drill/checks/",
    "drbackup/model/sources/",
    "drbackup/model/stores/",
    "drbackup/model/checks/",
    "drbackup/stores/folder/",
    "drbackup/stores/s3/",
    "drbackup/stores/registry.py",
)
ALLOWED = {
    "drbackup/cli/demo": "the demo makes a city of these kinds",
    "drbackup/cli/restore.py": "its help tells what --database takes",
    "drbackup/cli/keys.py": "the catalog's file",
    "drbackup/controller/catalog/": "the catalog is a SQLite database itself",
    "drbackup/controller/home/installation.py": "the catalog's file",
    # Signed uploads and reads are plain HTTP, for any kind that hands out URLs.
    "drbackup/controller/backup/commit.py": "stores.s3.signed",
    "agents/drbackup_agent/session/": "stores.s3.signed",
}
PLAIN_ENGLISH = {
    "across",
    "files",
    "command",
    "directory",
    "sql",
    "counts",
}  # names of kinds that mean other things, too
KINDS = {kind.kind for kind in (*IN_POLICIES, *STORE_PLACES, *IN_DRILLS)}
CLASSES = {kind.__name__ for kind in (*IN_POLICIES, *STORE_PLACES, *IN_DRILLS)} | {
    made.__name__ for kind in ON_AGENTS for made in (kind.spec, kind.open) if isinstance(made, type)
}


def of_the_product() -> Iterator[Path]:
    for folder in ("drbackup", "agents/drbackup_agent"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not str(path.relative_to(ROOT)).startswith((*OWN, *ALLOWED)):
                yield path


def docstrings(tree: ast.AST) -> set[int]:
    """The nodes that are text standing alone."""
    alone = (node.value for node in ast.walk(tree) if isinstance(node, ast.Expr))
    return {id(value) for value in alone if isinstance(value, ast.Constant)}


def words_of(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=text) | ast.Attribute(attr=text) | ast.alias(name=text) | ast.keyword(arg=str(text)):
            yield text
        case ast.ImportFrom(module=str(text)) | ast.Constant(value=str(text)):
            yield text
        case ast.FunctionDef(name=text) | ast.ClassDef(name=text):
            yield text


def compared(node: ast.AST) -> Iterator[object]:
    """Literal texts that something is compared with."""
    match node:
        case ast.Compare(left=left, comparators=comparators):
            inner = [each for part in (left, *comparators) for each in ast.walk(part)]
            yield from (each.value for each in inner if isinstance(each, ast.Constant))
        case ast.MatchValue(value=ast.Constant(value=value)):
            yield value


def names_a_kind(tree: ast.AST) -> Iterator[str]:
    """Where code, not prose, names one: a word of its own kind, a class of its, a comparison with its name."""
    apart = docstrings(tree)
    for node in ast.walk(tree):
        if id(node) in apart:
            continue
        line = f"line {getattr(node, 'lineno', 0)}"
        for text in words_of(node):
            parts = {part.lower() for part in re.split(r"[^A-Za-z0-9]+", text)} | {text}
            yield from (f"{line}: {word}" for word in parts & (CLASSES | (KINDS - PLAIN_ENGLISH)))
        yield from (f"{line}: compared with {value}" for value in compared(node) if value in KINDS)


def test_no_file_of_the_product_names_a_kind_but_its_own_rooms_and_the_lists() -> None:
    """So a new kind touches no existing file but the lists."""
    found = {}
    for path in of_the_product():
        lines = sorted(set(names_a_kind(ast.parse(path.read_text(encoding="utf-8")))))
        if lines:
            found[str(path.relative_to(ROOT))] = lines
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        "if source.postgres: pass",
        "entry = FilesPolicy()",
        "from drbackup.stores.s3.store import X",
        "kind == 'command'",
        "kind in {'files', 'x'}",
        "match kind:\n case 'sql': pass",
        "open('a.sqlite')",
    ],
)
def test_the_search_finds_a_kind_that_is_named(text: str) -> None:
    assert list(names_a_kind(ast.parse(text)))


def test_prose_and_plain_words_are_no_kinds() -> None:
    assert not list(names_a_kind(ast.parse('"""Not a postgres database."""\nfiles = counts(command)')))


def test_every_allowed_file_is_there_and_needs_to_be_allowed() -> None:
    for path in ALLOWED:
        found = (ROOT / path).parent.glob(f"{Path(path).name}*")
        files = [inner for each in found for inner in ([each] if each.is_file() else each.rglob("*.py"))]
        assert any(list(names_a_kind(ast.parse(file.read_text(encoding="utf-8")))) for file in files), path


def test_the_two_lists_of_sources_name_the_same_kinds() -> None:
    assert {kind.kind for kind in IN_POLICIES} == {kind.name for kind in ON_AGENTS}


def test_what_a_policy_says_of_a_source_is_what_its_agent_reads() -> None:
    of_agents = {kind.name: kind for kind in ON_AGENTS}
    for said in IN_POLICIES:
        sent = [*said.model_fields, *(["canary"] if said.takes_canary else [])]
        assert [field.name for field in msgspec.structs.fields(of_agents[said.kind].spec)] == sent


def test_the_two_lists_of_stores_name_the_same_kinds() -> None:
    assert [kind.kind for kind in STORE_PLACES] == [kind.name for kind in STORE_KINDS]


def test_the_two_lists_of_checks_name_the_same_kinds() -> None:
    assert [kind.kind for kind in IN_DRILLS] == list(MEASURED)


def test_no_two_kinds_of_check_are_told_by_the_same_keys() -> None:
    assert len({frozenset(kind.model_fields) for kind in IN_DRILLS}) == len(IN_DRILLS)


def test_a_whole_copy_of_every_kind_can_be_compared() -> None:
    """The older point of a drill has no check of the policy's: its kind says which one it gets."""
    known = {kind.kind for kind in IN_DRILLS}
    assert {kind.whole_check for kind in IN_POLICIES} <= known


def test_a_point_says_the_kind_that_can_restore_it() -> None:
    for kind in ON_AGENTS:
        assert getattr(kind.open, "kind", "") == kind.name


def test_every_store_says_its_kind_so_that_the_probe_knows_what_to_try() -> None:
    assert {DirectoryStore.kind, S3Store.kind} == {kind.name for kind in STORE_KINDS}
