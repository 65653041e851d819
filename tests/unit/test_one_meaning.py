"""A public name means one thing in the two packages: whoever reads it anywhere knows which one it is."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import drbackup
import drbackup_agent

STAND_ALONE = {
    "drbackup/reader/stranger.py": "it is read and run without anything of ours, so it says everything again",
}
LOCKS_FILES = {
    "drbackup/system/file_lock.py": "the door",
    "drbackup/fleet/installer.py": "it runs on a host as text, with nothing of ours",
}
TWO_HALVES = {
    "SOURCE_KINDS": "the same kinds, as policies name them and as agents do them; test_kinds holds them equal",
    "CHECK_KINDS": "likewise: asked by a policy, measured by an agent",
}
WITHOUT_NAMES = {"migrations": "each is a state of the catalog that was; none is imported by name"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in (drbackup, drbackup_agent):
        assert package.__file__ is not None
        folder = Path(package.__file__).parent
        for file in sorted(folder.rglob("*.py")):
            name = file.relative_to(folder.parent).as_posix()
            if name not in STAND_ALONE and not WITHOUT_NAMES.keys() & set(file.parts):
                yield name, ast.parse(file.read_bytes())


def test_no_public_class_name_stands_for_two_classes() -> None:
    found = defaultdict(list)
    for module, tree in modules():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(module)
    assert len(found) > 200, "the classes were found at all"
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_no_public_constant_name_stands_for_two_constants() -> None:
    found = defaultdict(list)
    for module, tree in modules():
        for name in assigned(tree):
            if name.isupper() and not name.startswith("_") and name not in TWO_HALVES:
                found[name].append(module)
    assert len(found) > 100, "the constants were found at all"
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_a_lock_of_threads_is_called_a_mutex_and_files_are_locked_by_one_door() -> None:
    """A lock alone is a store's promise to keep an object (docs/glossary.md)."""
    mutexes, others, by_hand = 0, [], []
    for module, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and ast.unparse(node.value) in {"threading.Lock()", "threading.RLock()"}:
                mutexes += 1
                others += [f"{module}: {name}" for name in map(ast.unparse, node.targets) if "mutex" not in name]
            if isinstance(node, ast.Attribute) and node.attr in {"flock", "lockf"} and module not in LOCKS_FILES:
                by_hand.append(module)
    assert mutexes > 10, "they were found at all"
    assert (others, by_hand) == ([], [])


def test_what_is_excepted_is_there() -> None:
    root = Path(str(drbackup.__file__)).parent.parent
    assert all((root / name).is_file() for name in (*STAND_ALONE, *LOCKS_FILES))


def assigned(tree: ast.Module) -> Iterator[str]:
    """Names that the module itself gives a value."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        else:
            continue
        for target in targets:
            for each in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(each, ast.Name):
                    yield each.id
