"""The glossary is true: its places exist, its words stand once, and the Chinese texts use its Chinese."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

HERE = Path(__file__).parents[2]
PAGE = (HERE / "docs" / "glossary.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| ([a-z ]+) \| ([^|]+) \| (.+) \| `([^`]+)` \|$", re.MULTILINE)
WORDS = ROW.findall(PAGE)

# Words that English sentences use in other senses, too, or whose Chinese depends on the sentence.
FREE = {"run", "keep", "hold", "due", "share", "copy", "seal", "plan", "restore", "collect", "promise", "home"}
FREE |= {"missed", "repair", "rebuild", "scrub", "probe", "catch up", "session", "policy", "verdict", "chunk", "tree"}
FREE |= {"lock"}
COMMAND = re.compile(
    r"drbackup [a-z-]+( [a-z-]+)?|\{[^}]*\}|--?[a-z][a-z-]*|[\w-]+(/[\w.-]+)+|SYSTEM|[a-z_]+\.yaml|“[^”]*”"
)


def catalogue() -> list[tuple[str, str]]:
    with (HERE / "drbackup/locale/zh_CN/LC_MESSAGES/drbackup.po").open("rb") as file:
        found = []
        for message in read_po(file, locale="zh_CN"):
            if message.id:
                several = isinstance(message.id, tuple)
                found.append((message.id[0] if several else message.id, "".join(message.string)))
        return found


def test_every_row_is_read_and_no_word_stands_twice() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| word")]
    assert len(rows) == len(WORDS)
    assert [word for word, n in Counter(row[0] for row in WORDS).items() if n > 1] == []
    assert [chinese for chinese, n in Counter(row[1] for row in WORDS).items() if n > 1] == []


@pytest.mark.parametrize(("word", "place"), [(row[0], row[3]) for row in WORDS])
def test_every_word_has_a_place_that_exists(word: str, place: str) -> None:
    assert (HERE / place).exists(), word


@pytest.mark.parametrize(("word", "meaning"), [(row[0], row[2]) for row in WORDS])
def test_every_meaning_is_short_sentences(word: str, meaning: str) -> None:
    assert [s for s in re.split(r"(?<=[.:])\s", meaning) if len(s.split()) > 25] == [], word


@pytest.mark.parametrize(("word", "chinese"), [(row[0], row[1]) for row in WORDS if row[0] not in FREE])
def test_chinese_texts_use_the_words_of_the_glossary(word: str, chinese: str) -> None:
    said = re.compile(rf"\b{word}s?\b", re.IGNORECASE)
    wrong = [text for text, own in catalogue() if said.search(COMMAND.sub("", text)) and chinese not in own]
    assert wrong == []
