"""The texts of errors and policy findings, found in the syntax trees of both packages.

A text is translated by its template, so it must be a constant or said by :func:`drbackup.errors.say`. What is neither
is *hidden*: nobody would notice that it has no Chinese. A name counts when all it is given in its function counts, a
parameter or a function when it is declared as :class:`drbackup.errors.Said`: then mypy holds its callers to it.
"""

from __future__ import annotations

import ast
import functools
import re
import string
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = ("drbackup", "agents/drbackup_agent")
_ERRORS = "drbackup/errors.py"
_TRANSLATED = ("_", "ngettext", "translated")
_SAID = ("said", "said_safe", "said_hint")
_SAID_TYPES = ("Said", "Said | None", "tuple[Said, Said]", "Iterator[tuple[Said, Said]]")
_FIELD = re.compile(r"\{\w+\}")  # a template of nothing else says nothing
# calls beside those of error classes: the name, the first position that is a text, the position behind the last
_TEXTS_OF = {"finding": (1, 3), "Finding": (4, 6), "complain": (1, 3), "reword": (0, 1)}
_SHOWN_BY_FINDINGS = "drbackup/model/"  # a ValueError there is what a validator says of a policy
_TEXT_KEYWORDS = ("message", "hint", "safe")


class Text(NamedTuple):
    """A text that needs a translation."""

    file: str
    text: str


class Hidden(NamedTuple):
    """An expression that no translation can be found for. ``line`` counts from 1."""

    file: str
    line: int
    source: str


class Sayings(NamedTuple):
    """What was found."""

    texts: list[Text]
    hidden: list[Hidden]


@functools.cache
def sayings() -> Sayings:
    """Every text of an error or a finding in both packages."""
    trees = {
        str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"))
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
    }
    return found_in(trees)


def found_in(trees: dict[str, ast.Module]) -> Sayings:
    """Every text of an error or a finding in those files."""
    known = _Known(_error_classes(trees), *_declared(trees))
    result = Sayings(_class_texts(trees.get(_ERRORS)), [])
    for file, tree in trees.items():
        if file != _ERRORS:
            _File(file, known, result).visit(tree)
    return result


class _Known(NamedTuple):
    """What is declared anywhere."""

    errors: set[str]
    said: set[str]  # functions and properties whose result is Said
    constants: dict[str, ast.expr]  # of modules


def _error_classes(trees: dict[str, ast.Module]) -> set[str]:
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for tree in trees.values()
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
    found, size = {"DrbackupError"}, 0
    while len(found) > size:
        size = len(found)
        found |= {name for name, parents in bases.items() if parents & found}
    return found


def _declared(trees: dict[str, ast.Module]) -> tuple[set[str], dict[str, ast.expr]]:
    functions: set[str] = set()
    constants: dict[str, ast.expr] = {}
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.returns is not None and _is_said(node.returns):
                functions.add(node.name)
        for statement in tree.body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                constants[statement.targets[0].id] = statement.value
    return functions, constants


def _is_said(annotation: ast.expr) -> bool:
    return ast.unparse(annotation) in _SAID_TYPES


def _class_texts(tree: ast.Module | None) -> list[Text]:
    """Defaults of the error classes."""
    found = []
    for node in tree.body if tree is not None else ():
        for statement in node.body if isinstance(node, ast.ClassDef) else [node]:
            value = getattr(statement, "value", None)
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            name = targets[0].id if isinstance(targets[0], ast.Name) else ""
            wanted = name in ("hint", "safe") if isinstance(node, ast.ClassDef) else name.isupper()
            if wanted and isinstance(value, ast.Constant) and isinstance(value.value, str):
                found.append(Text(_ERRORS, value.value))
    return found


class _File(ast.NodeVisitor):
    """One file's walk."""

    def __init__(self, file: str, known: _Known, result: Sayings) -> None:
        self._file = file
        self._known = known
        self._result = result
        self._functions: list[ast.FunctionDef] = []
        self._asking: set[str] = set()  # names being judged: a name may be made of itself

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._functions.append(node)
        self.generic_visit(node)
        self._functions.pop()

    def visit_Call(self, node: ast.Call) -> None:
        name = _name(node.func)
        if name == "say" and (node.keywords or isinstance(node.args[0], ast.Constant)):
            self._template(node.args[0], {keyword.arg for keyword in node.keywords})
        elif name in self._known.errors or (name == "ValueError" and self._file.startswith(_SHOWN_BY_FINDINGS)):
            self._judge_texts(node, slice(0, 1))
        elif name in _TEXTS_OF:
            self._judge_texts(node, slice(*_TEXTS_OF[name]))
        self.generic_visit(node)

    def _judge_texts(self, node: ast.Call, which: slice) -> None:
        for argument in node.args[which]:
            self._judge(argument)
        for keyword in node.keywords:
            if keyword.arg in _TEXT_KEYWORDS:
                self._judge(keyword.value)

    def _template(self, node: ast.expr, values: set[str | None]) -> None:
        """The first argument of ``say``: constants, or a choice of them, whose fields are all among the values."""
        if isinstance(node, ast.IfExp):
            self._template(node.body, values)
            self._template(node.orelse, values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _fits(node.value, values):
            self._add(node.value)
        else:
            self._hide(node)

    def _judge(self, node: ast.expr) -> None:
        match node:
            case ast.Constant(value=str(text)):
                self._add(text)
            case ast.Constant(value=None):
                pass
            case ast.Starred(value=value):
                self._judge(value)
            case ast.Attribute(value=ast.Name(id=name), attr="hint" | "safe") if name in self._known.errors:
                pass
            case ast.IfExp(body=body, orelse=orelse):
                self._judge(body)
                self._judge(orelse)
            case ast.BoolOp(values=values):
                for value in values:
                    self._judge(value)
            case ast.Call(func=function) if self._is_said_call(function):
                pass
            case ast.Attribute(attr=name) if name in _SAID or name in self._known.said:
                pass
            case ast.Name(id=name):
                self._judge_name(node, name)
            case _:
                self._hide(node)

    def _is_said_call(self, function: ast.expr) -> bool:
        name = _name(function)
        if name == "format" and isinstance(function, ast.Attribute):  # of a text that was translated where it stands
            of = function.value
            given = self._given(of.id) if isinstance(of, ast.Name) else [of]
            return bool(given) and all(isinstance(v, ast.Call) and _name(v.func) in _TRANSLATED for v in given)
        return name in ("say", "say_all", *_TRANSLATED) or name in self._known.said

    def _judge_name(self, node: ast.expr, name: str) -> None:
        given = self._given(name)
        if self._is_declared_said(name) or name in self._asking:
            return
        if not given and name in self._known.constants:
            given = [self._known.constants[name]]
        if not given:
            self._hide(node)
        self._asking.add(name)
        for value in given:
            self._judge(value)
        self._asking.discard(name)

    def _given(self, name: str) -> list[ast.expr]:
        """What the name is given in the function around here."""
        around: Sequence[ast.AST] = self._functions[-1:]
        return [value for function in around for node in ast.walk(function) for value in _assigned(node, name)]

    def _is_declared_said(self, name: str) -> bool:
        if self._functions and self._functions[-1].name in _TEXTS_OF and name in _TEXT_KEYWORDS:
            return True  # judged wherever that function is called
        arguments = [a for f in self._functions for a in (*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs)]
        if any(a.arg == name and a.annotation is not None and _is_said(a.annotation) for a in arguments):
            return True
        nodes = [node for function in self._functions[-1:] for node in ast.walk(function)]
        return any(
            isinstance(node, ast.AnnAssign) and _name(node.target) == name and _is_said(node.annotation)
            for node in nodes
        )

    def _add(self, text: str) -> None:
        if any(letter.isalpha() for letter in _FIELD.sub("", text)):
            self._result.texts.append(Text(self._file, text))

    def _hide(self, node: ast.expr) -> None:
        self._result.hidden.append(Hidden(self._file, node.lineno, ast.unparse(node)))


def _assigned(node: ast.AST, name: str) -> Iterator[ast.expr]:
    """What ``node`` gives the name, if it does."""
    pairs: list[tuple[ast.expr, ast.expr | None]] = []
    if isinstance(node, ast.Assign):
        pairs = [(target, node.value) for target in node.targets]
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr | ast.AugAssign):
        pairs = [(node.target, node.value)]
    elif isinstance(node, ast.For):
        pairs = [(node.target, node.iter)]
    for target, value in pairs:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for part, of in zip(target.elts, value.elts, strict=False):
                if isinstance(part, ast.Name) and part.id == name:
                    yield of
        elif value is not None and any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(target)):
            yield value


def _fits(template: str, values: set[str | None]) -> bool:
    """Whether the template has plain fields only, each with a value. Without values it is shown as it is."""
    try:
        fields = [field for field in string.Formatter().parse(template) if field[1] is not None]
    except ValueError:
        return not values
    return not values or all(name in values and not spec and not conversion for _, name, spec, conversion in fields)


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
