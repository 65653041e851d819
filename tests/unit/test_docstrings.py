"""Docstrings that half their readers, who are not native, can read: short sentences that begin with what is meant."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted([*(ROOT / "drbackup").rglob("*.py"), *(ROOT / "agents" / "drbackup_agent").rglob("*.py")])
LONGEST = 25  # words of a sentence

# Words that begin an order. A docstring says what is returned or guaranteed, so it begins with a noun.
ORDERS = frozenset(
    """
    add adopt advance allow announce answer append apply ask assert attach avoid back begin bind bring brings build
    call cancel carry catch check checks choose claim clean clear climb close collect combine commits compare
    compute connect consume convert copy count create cut decide decode delete deliver describe divide do does draw
    drop emit encode end ensure enter erase examine expect extract fail feed fetch fill find finish fit flush follow
    forget format gather generate get give gives go grant guard hand handle have hear hold holds import insert join
    judge keep keeps kill lay lead learn leave let lift link list load locate look looks lower make makes mark match
    measure meet mend merge move name note notify obtain open opens order parse pass pin place plan play point
    prepare print probe produce prove publish pull push put raise raises read reads rebuild receive record refuse
    register release remember remove rename render renew renews repair repeat replace report request require reset
    resolve restore return returns run save say says scrub seal see select send sends set shift show sign skip sort
    split start state stop store stream streams take takes tell tells test throw touch translate trim try turn undo
    unpack unseal update upload use validate verify wait wake walk warn watch wipe wrap wraps write writes yield
    yields
    """.split()  # noqa: SIM905 - a list of words, one a word
)

# An order only where a thing to do it to follows.
NOUNS_TOO = frozenset(
    """
    answer back call check checks claim close commits copy count cut drop end fit format grant guard hand handle
    hold holds keep lead link list look looks make mark match measure move name names note open order pass pin place
    plan play point probe reads record release repair report request restore run scrub seal set shift show sign sort
    split start state stop store stream streams test touch try turn update upload use wait walk watch
    """.split()  # noqa: SIM905 - a list of words, one a word
)
THING = frozenset(
    """
    a again all an anew any down each every from into it its no nothing one so some that the their them these this
    those up what whatever whether
    """.split()  # noqa: SIM905 - a list of words, one a word
)


def docstrings(path: Path) -> Iterator[tuple[str, str, bool]]:
    """(place, text, must begin with a noun) of everything public in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield "module", ast.get_docstring(tree) or "", False
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        text = ast.get_docstring(node)
        if text:
            yield f"{node.name} (line {node.lineno})", text, not _is_help(node)


def _is_help(node: ast.AST) -> bool:
    """Whether it is a command, whose docstring is its ``--help``."""
    return any(
        re.search(r"\bclick\b|\.command|\.group", ast.unparse(each)) for each in getattr(node, "decorator_list", ())
    )


def sentences(text: str) -> list[str]:
    plain = re.sub(r"(?m)^ {4,}.*$", "", text)  # an example, not a sentence
    plain = re.sub(r":\w+:`([^`]*)`|``([^`]*)``", "X", plain)
    parts = re.split(r"\n\s*\n", plain)
    return [each for part in parts for each in re.split(r"(?<=[.!?:;])\s+", part) if each.strip()]


def begins_with_an_order(text: str) -> bool:
    words = re.findall(r"[\w'`:.~-]+", text.lower())
    if not words or words[0] not in ORDERS:
        return False
    return words[0] not in NOUNS_TOO or (len(words) > 1 and (words[1] in THING or words[1].startswith((":", "`"))))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_are_short_sentences_that_begin_with_what_is_meant(path: Path) -> None:
    faults = []
    for place, text, noun in docstrings(path):
        faults += [
            f"{place}: {len(each.split())} words: {each}" for each in sentences(text) if len(each.split()) > LONGEST
        ]
        if noun and begins_with_an_order(text):
            faults.append(f"{place}: begins with an order: {text.splitlines()[0]}")
    assert faults == []
