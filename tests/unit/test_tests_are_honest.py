"""Tests depend on no clock and on no private name: both were found in tests that failed on a loaded machine, or that
had to be changed whenever the code was, although nothing it promises had changed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
ROOMS = {TESTS / "unit" / "agent": ROOT / "agents" / "drbackup_agent", TESTS / "unit" / "tools": ROOT / "tools"}
SLEEPS = {"sleep"}
CLOCKS = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"}

#: file → why it may look at the clock, or sleep
TIMED = {
    "support/poll.py": "the one place that polls; gives up only far beyond what any machine needs",
    "support/doubles/faulty_store.py": "plays a slow store",
    "support/doubles/small_agent.py": "plays an agent that hangs for ever",
    "unit/fleet/test_session.py": "one answer comes later than the stall limit; a slow machine makes it only later",
    "simulation/world.py": "sleeping is what its actors do on their own clock",
}
#: names that begin with an underscore and belong to somebody else's public interface
FOREIGN = {
    "_exit": "os: end a process without its clean-up",
    "_replace": "namedtuple",
    "_": "gettext: the customary name",
    "_urandom": "random: there is no other way to seed what the real code draws",
}


def sources() -> list[Path]:
    return sorted(path for path in TESTS.rglob("*.py") if path != Path(__file__).resolve())


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in FOREIGN


def timed(tree: ast.AST) -> Iterator[str]:
    """Every look at a clock that measures, and every sleep. (``datetime.now`` dates things, and is not one.)"""
    for node in ast.walk(tree):
        if (
            (isinstance(node, ast.Attribute) and node.attr in SLEEPS | CLOCKS)
            or (isinstance(node, ast.ImportFrom) and node.module == "time")
            or (isinstance(node, ast.Call) and ast.unparse(node.func) == "threading.Event().wait")
        ):
            yield f"{node.lineno}: {ast.unparse(node)}"


def poked(tree: ast.AST) -> Iterator[str]:
    """Every private name that this file did not make itself: imported, read, written, or named in a patch."""
    own = set(_made(tree))
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(names=names):
                yield from (f"{node.lineno}: import {each.name}" for each in names if private(each.name))
            case ast.Attribute(attr=name, value=value) if private(name):
                mine = isinstance(value, ast.Name) and value.id in {"self", "cls"}
                if not (mine and name in own):
                    yield f"{node.lineno}: {ast.unparse(node)}"
            case ast.Call(args=args):
                for each in args:
                    text = each.value if isinstance(each, ast.Constant) and isinstance(each.value, str) else ""
                    if text.replace(".", "").isidentifier() and any(map(private, text.split("."))):
                        yield f"{each.lineno}: {text!r}"


def _made(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store(), value=ast.Name(id="self" | "cls")):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(TESTS).as_posix())
def test_no_test_depends_on_a_clock_or_a_private_name(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.relative_to(TESTS).as_posix() not in TIMED:
        assert list(timed(tree)) == [], "wait for a step by its own sign: tests/support/poll.py"
    assert list(poked(tree)) == [], "give the code a parameter, or test the promise from outside"


def test_every_exception_is_still_needed() -> None:
    for name in TIMED:
        assert list(timed(ast.parse((TESTS / name).read_text(encoding="utf-8")))), name


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("assert time.monotonic() - begun < 3", timed),
        ("time.sleep(1)", timed),
        ("threading.Event().wait(1.5)", timed),
        ("from time import sleep", timed),
        ("from drbackup.fleet.spare import _LOCAL", poked),
        ("installation._stores['main'] = store", poked),
        ("monkeypatch.setattr(store, '_chosen', {})", poked),
        ("mock.patch('drbackup.fleet.spare._LOCAL')", poked),
        ("class Mine(Theirs):\n    def look(self):\n        return self._lock", poked),
    ],
)
def test_what_is_dishonest_is_found(text: str, found: object) -> None:
    assert callable(found)
    assert list(found(ast.parse(text)))


@pytest.mark.parametrize(
    "text",
    [
        "class Mine:\n    def __init__(self):\n        self._seen = 1\n    def look(self):\n        return self._seen",
        "os._exit(3)",
        "datetime.now(UTC)",
        "process.wait(PATIENCE)",
        "_helper(1)",
    ],
)
def test_what_is_honest_is_let_pass(text: str) -> None:
    tree = ast.parse(text)
    assert [*timed(tree), *poked(tree)] == []


def test_every_unit_test_lies_where_what_it_tests_does() -> None:
    """The room exists in the product; a module need not have a test of its own name."""
    rooms = {path.parent for path in (TESTS / "unit").rglob("test_*.py")} - {TESTS / "unit"}
    for room in sorted(rooms):
        inside = next((mine for mine in ROOMS if room.is_relative_to(mine)), None)
        mirrored = (
            ROOMS[inside] / room.relative_to(inside) if inside else ROOT / "drbackup" / room.relative_to(TESTS / "unit")
        )
        assert (mirrored / "__init__.py").exists(), f"{room}: there is no {mirrored}"


def test_what_several_rooms_use_lies_in_support() -> None:
    """``golden`` is the files of a vault as the first version wrote it, and who made them."""
    strays = []
    for path in sources():
        room = path.relative_to(TESTS).parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests."):
                other = str(node.module).split(".")[1]
                if other not in {room, "support", "golden"}:
                    strays.append(f"{path.relative_to(TESTS)} imports {node.module}")
    assert strays == []
