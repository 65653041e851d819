"""YAML text → plain values, with the place of every key and value, and findings instead of exceptions.

The values are what PyYAML's SafeLoader would give, with four differences, because YAML's rules surprise administrators:

* keys are always text (``on:`` is not ``true:``);
* only ``true`` and ``false`` are booleans;
* times like ``22:00``, dates and numbers with a leading zero stay text;
* a key written twice is an error, and never overwrites silently.

Anchors, aliases and merge keys work, up to 50,000 values in a file. No object of any other kind can come out of one.
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import yaml

from drbackup.errors import Said, say

Path = tuple[str | int, ...]
"""Where a value is inside a document: keys and list positions from the root."""

Severity = Literal["error", "warning"]
_SEVERITIES: dict[Severity, Said] = {"error": say("error"), "warning": say("warning")}

_MOST_NODES = 50_000  # values of one file, with aliases unfolded; no real policy has so many
_TAGS = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what YAML counts as lines; splitlines() counts more
_HINTS = (
    ("'\\t'", say("indent with spaces, never with tabs")),
    (
        "mapping values are not allowed",
        say("a ':' inside plain text: put the value in quotes, or mend the indentation"),
    ),
    ("expected <block end>", say("all entries of one list or mapping begin in the same column")),
    ("expected ',' or", say("a bracket or brace is not closed, or a comma is missing")),
    ("could not find expected ':'", say("a key needs a ':' and a space after it")),
    ("while scanning a quoted scalar", say("a quotation mark is not closed")),
    ("undefined alias", say("the anchor (&name) must stand before its alias (*name)")),
    ("cannot start any token", say("put a value that begins with a special character in quotes")),
    ("expected a single document", say("one file holds one document: remove the '---' line")),
)


class Finding(msgspec.Struct, frozen=True):
    """One thing wrong, or doubtful, in one file."""

    file: str
    line: int  # from 1
    column: int  # from 1
    text: str  # the line in the file
    message: str
    hint: str = ""  # how to correct it
    severity: Severity = "error"

    @property
    def order(self) -> tuple[str, int, int, str, str]:
        """The key by which findings are sorted."""
        return self.file, self.line, self.column, self.severity, self.message

    def __str__(self) -> str:
        return str(self.said)

    @property
    def place(self) -> str:
        """``file:line:column``."""
        return f"{self.file}:{self.line}:{self.column}"

    @property
    def said(self) -> Said:
        """The finding on one line, which can be shown in the reader's language."""
        severity = _SEVERITIES[self.severity]
        return say("{place}: {severity}: {what}", place=self.place, severity=severity, what=say(self.message))

    def lines(self) -> list[str]:
        """The finding for a person: the message, the file's line with a mark below the place, the hint.

        The :class:`Said` among these lines can be shown in the reader's language.
        """
        shown: list[str] = [self.said]
        if self.text.strip():
            indent = len(self.text) - len(self.text.lstrip())
            shown += [f"    {self.text.strip()}", f"    {' ' * max(0, self.column - 1 - indent)}^"]
        return [*shown, say("    hint: {hint}", hint=say(self.hint))] if self.hint else shown


class Document(msgspec.Struct, frozen=True):
    """One parsed file."""

    file: str
    text: str
    values: Any  # None: the text could not be read, and ``findings`` says why
    value_places: dict[Path, tuple[int, int]]  # path → (line, column), from 1
    key_places: dict[Path, tuple[int, int]]  # likewise
    findings: tuple[Finding, ...]

    def finding(
        self, path: Path, message: str, hint: str = "", *, severity: Severity = "error", at_key: bool = False
    ) -> Finding:
        """A finding at ``path``, or at the nearest place around it that the file has.

        ``at_key``: it is shown at the key and not at the value.
        """
        line, column = self._place(path, at_key)
        source = _LINE_BREAK.split(self.text)
        excerpt = source[line - 1] if line <= len(source) else ""
        return Finding(self.file, line, column, excerpt, message, hint, severity)

    def _place(self, path: Path, at_key: bool) -> tuple[int, int]:
        first, second = (self.key_places, self.value_places) if at_key else (self.value_places, self.key_places)
        for length in range(len(path), -1, -1):
            place = first.get(path[:length]) or second.get(path[:length])
            if place:
                return place
            first, second = self.key_places, self.value_places  # an enclosing mapping is best shown by its key
        return 1, 1

    def has(self, path: Path) -> bool:
        """Whether the file has a value at ``path``."""
        return path in self.value_places


@dataclass(slots=True)
class _Reader:
    """A walk through the nodes of one file. It collects their values, places and findings."""

    file: str
    text: str
    values: dict[Path, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    open_nodes: list[yaml.Node] = field(default_factory=list)
    seen: int = 0

    def document(self, values: Any) -> Document:
        return Document(self.file, self.text, values, self.values, self.keys, tuple(self.findings))

    def complain(self, place: tuple[int, int], message: str, hint: str = "") -> None:
        self.findings.append(Document(self.file, self.text, None, {(): place}, {}, ()).finding((), message, hint))

    def build(self, node: yaml.Node, path: Path) -> Any:
        place = _place(node)
        self.values[path] = place
        self.seen += 1
        if any(node is outer for outer in self.open_nodes):
            self.complain(place, "this anchor holds itself", "an alias (*name) may not stand inside its own anchor")
            return None
        if self.seen > _MOST_NODES:
            if self.seen == _MOST_NODES + 1:
                self.complain(
                    place,
                    say("the file unfolds to more than {most_nodes} values", most_nodes=_MOST_NODES),
                    "use fewer aliases",
                )
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place)
        self.open_nodes.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            return [self.build(item, (*path, number)) for number, item in enumerate(node.value)]
        finally:
            self.open_nodes.pop()

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = _place(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self.complain(place, "a key must be plain text")
                continue
            key = str(key_node.value)
            if key == "<<" and not key_node.style:
                self._merge(value_node, path, merged)
                continue
            if key in result:
                line = self.keys[*path, key][0]
                self.complain(
                    place,
                    say("the key '{key}' stands here a second time", key=key),
                    say("it is already on line {line}", line=line),
                )
                continue
            self.keys[*path, key] = place
            result[key] = self.build(value_node, (*path, key))
        return {**{key: value for key, value in merged.items() if key not in result}, **result}

    def _merge(self, node: yaml.Node, path: Path, merged: dict[str, Any]) -> None:
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for part in parts:
            # Built at a path of its own, so that the merged keys do not hide the places of the mapping's own keys.
            values = self.build(part, (*path, "<<"))
            if not isinstance(values, dict):
                self.complain(_place(part), "'<<' merges mappings only", "write <<: *name")
                continue
            for key, value in values.items():
                merged.setdefault(key, value)

    def _scalar(self, node: yaml.ScalarNode, place: tuple[int, int]) -> Any:
        text = str(node.value)
        if node.tag == "!" or node.style in ("'", '"', "|", ">"):
            return text
        if node.tag not in (_TAGS + "str", _TAGS + "plain"):
            self.complain(
                place, say("the tag {tag} is not used here", tag=node.tag.replace(_TAGS, "!!")), "write the plain value"
            )
            return None
        return text if node.tag == _TAGS + "str" else _plain(text)


class _OneTag(yaml.resolver.Resolver):
    """A resolver that gives every plain scalar one private tag, so that :func:`_plain` alone decides what it means."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own shape

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return _TAGS + ("plain" if implicit[0] else "str")
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]


class _Loader(_OneTag, yaml.SafeLoader):
    """PyYAML's own loader. It is slow, but our hints are written for its messages."""


if yaml.__with_libyaml__:

    class _Events(_OneTag, yaml.composer.Composer, yaml.cyaml.CParser):  # type: ignore[name-defined, misc]
        """libyaml's events of a text, which come ten times as fast as PyYAML's.

        libyaml does not compose the nodes: it recurses without checking the stack, and a deeply nested text would crash
        the process.
        """

        def __init__(self, stream: str) -> None:
            yaml.cyaml.CParser.__init__(self, stream)  # type: ignore[attr-defined]
            yaml.composer.Composer.__init__(self)
            yaml.resolver.Resolver.__init__(self)

        def dispose(self) -> None:
            """Nothing: no resource is held."""


def _compose(text: str) -> yaml.Node | None:
    """The root node. Where libyaml refuses a text, PyYAML's own loader reads it again, for its better message."""
    if yaml.__with_libyaml__:
        with contextlib.suppress(yaml.YAMLError):
            return yaml.compose(text, Loader=_Events)
    return yaml.compose(text, Loader=_Loader)


def parse_document(text: str, file: str) -> Document:
    """The parsed file. It never raises for bad text: what is wrong is in ``findings``."""
    reader = _Reader(file, text)
    try:
        node = _compose(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        words = " ".join(filter(None, (error.context, error.problem)))
        reader.complain(place, say("not YAML: {words}", words=words), _hint(words))
        return reader.document(None)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reader.complain((line, 1), say("not text: {why}", why=error.reason), "save the file as plain UTF-8 text")
        return reader.document(None)
    except RecursionError:
        reader.complain((1, 1), "nested too deeply to be a policy")
        return reader.document(None)
    if node is None:
        reader.complain((1, 1), "the file is empty", "see docs/policy-reference.md for what it must say")
        return reader.document(None)
    for tagged in _foreign_tags(node):
        reader.complain(_place(tagged), say("the tag {tag} is not used here", tag=tagged.tag.replace(_TAGS, "!!")))
    return reader.document(reader.build(node, ()))


def nearest(word: str, known: Collection[str]) -> Said:
    """A hint for a wrong word: ``did you mean 'x'?``, or the known words if none is similar; empty without any."""
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    if close:
        return say("did you mean '{word}'?", word=close[0])
    shown = sorted(known)[:12]
    if len(known) > len(shown):
        return say("known: {names} and {more} more", names=", ".join(shown), more=len(known) - len(shown))
    return say("known: {names}", names=", ".join(shown)) if shown else say("")


def _plain(text: str) -> Any:
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    if _INT.fullmatch(text) and len(text) < 100:
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _foreign_tags(root: yaml.Node) -> Iterator[yaml.Node]:
    """Tagged lists and mappings (``!!set``, ``!!python/object``); scalars are judged where they are built."""
    known = {_TAGS + "map", _TAGS + "seq"}
    pending, seen = [root], set()
    while pending:
        node = pending.pop()
        if id(node) in seen or isinstance(node, yaml.ScalarNode):
            continue
        seen.add(id(node))
        if node.tag not in known:
            yield node
        for item in node.value:
            pending.extend(item if isinstance(item, tuple) else [item])


def _place(node: yaml.Node) -> tuple[int, int]:
    mark = node.start_mark
    return mark.line + 1, mark.column + 1


def _hint(words: str) -> Said:
    return next(
        (hint for sign, hint in _HINTS if sign in words), say("check the indentation, colons and quotes around here")
    )
