"""No list that is the truth is cut without a word: the ways in which it was done once do not come back.

Bounds of what a stranger may send are another thing. They stand in a comparison, or have a name that says MOST or MAX.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
_MEANT_AS_ALL = re.compile(r"_*(ALL|MANY|EVERY_(POINT|RUN|ROW)|EVERYTHING|LOTS)")
_BOUND = re.compile(r"MOST|MAX")
_HUGE = 31  # bits
_PAGES = {"PAGE_ROWS", "count"}  # a query's limits, beside one row, or two to see whether it is alone
_A_LIST = 3  # cut to fewer, it was a pair or the first of several


def silent_limits(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and complaint of each."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and _MEANT_AS_ALL.fullmatch(node.id):
            yield node.lineno, f"{node.id} is a number that means all"
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.LShift) and _huge(node):
            if not _is_bound(node, parents):
                yield node.lineno, f"{ast.unparse(node)} means endless"
        elif isinstance(node, ast.FunctionDef):
            yield from _defaults(node)
        elif isinstance(node, ast.Call):
            yield from _calls(node)
        elif isinstance(node, ast.comprehension | ast.For) and _cut(node.iter):
            yield node.iter.lineno, f"{ast.unparse(node.iter)} leaves out the rest"


def _huge(node: ast.BinOp) -> bool:
    return isinstance(node.right, ast.Constant) and isinstance(node.right.value, int) and node.right.value >= _HUGE


def _is_bound(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    while node in parents:
        node = parents[node]
        if isinstance(node, ast.Compare):
            return True
        if isinstance(node, ast.Assign):
            return any(isinstance(name, ast.Name) and bool(_BOUND.search(name.id)) for name in node.targets)
    return False


def _defaults(node: ast.FunctionDef) -> Iterator[tuple[int, str]]:
    """``def list(self, limit=1000)``: whoever says nothing gets a part."""
    plain = zip(reversed(node.args.args), reversed(node.args.defaults), strict=False)
    for argument, default in (*plain, *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)):
        if argument.arg == "limit" and isinstance(default, ast.Constant) and isinstance(default.value, int):
            yield node.lineno, f"{node.name} has a limit that nobody asked for"


def _calls(node: ast.Call) -> Iterator[tuple[int, str]]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if name == "limit" and node.args and not _page(node.args[0]):
        yield node.lineno, f"a query is limited to {ast.unparse(node.args[0])}"
    if name == "join" and node.args and _cut(node.args[0]):
        yield node.lineno, f"{ast.unparse(node.args[0])} leaves out the rest"
    for keyword in node.keywords:
        literal = isinstance(keyword.value, ast.Constant | ast.BinOp)
        if keyword.arg == "limit" and literal:
            yield node.lineno, f"limit={ast.unparse(keyword.value)}"


def _page(argument: ast.expr) -> bool:
    if isinstance(argument, ast.Constant):
        return argument.value in (1, 2)
    return isinstance(argument, ast.Name) and argument.id in _PAGES


def _cut(node: ast.expr) -> bool:
    """``things[:5]``: with a name in place of the number, a line says what is left."""
    sliced = isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice)
    if not sliced or node.slice.lower is not None:
        return False
    upper = node.slice.upper
    return isinstance(upper, ast.Constant) and isinstance(upper.value, int) and upper.value >= _A_LIST


@pytest.mark.parametrize("package", ["drbackup", "agents"])
def test_no_list_is_cut_without_a_word(package: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {why}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for line, why in silent_limits(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "_ALL = 1_000_000",
        "EVERY_POINT = 1 << 31",
        "_MANY = 10_000",
        "first = 1 << 62",
        "def list(self, *, limit: int = 1000): ...",
        "def lacking(store, limit=50): ...",
        "points.list(limit=1_000_000)",
        "query.limit(500)",
        "query.limit(limit)",
        "'; '.join(notes[:5])",
        "'; '.join(each.why for each in faults[:5])",
        "for each in defects[:20]: print(each)",
    ],
)
def test_each_of_the_old_ways_is_found(text: str) -> None:
    assert list(silent_limits(ast.parse(text)))


@pytest.mark.parametrize(
    "text",
    [
        "_COUNT_MOST = 1 << 62",
        "good = 0 <= entry.size < 1 << 63",
        "query.limit(1)",
        "query.limit(PAGE_ROWS)",
        "names = ', '.join(point[:12] for point in points)",
        "for each in defects[:_SHOWN]: print(each)",
        "def limited(rows, most): ...",
    ],
)
def test_bounds_pages_and_counted_rests_are_let_be(text: str) -> None:
    assert not list(silent_limits(ast.parse(text)))
