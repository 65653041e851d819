"""One of a thing is said in the singular, everywhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from drbackup.reports import gettext, plurals
from tools.docs import translations

_PLURAL = re.compile(
    r"\{\w+\} (points|packs|objects|records|entries|files|chunks|checks|systems|drills|pieces|shares)\b"
)


@pytest.fixture
def chinese() -> Iterator[None]:
    gettext.speak("zh_CN")
    yield
    gettext.speak("en")


NOUNS: list[Callable[[int], str]] = [
    plurals.points,
    plurals.packs,
    plurals.objects,
    plurals.records,
    plurals.entries,
    plurals.files,
    plurals.chunks,
    plurals.checks,
    plurals.systems,
    plurals.drills,
    plurals.pieces,
    plurals.shares,
]


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.__name__)
def test_one_is_singular_and_none_and_many_are_plural(noun: Callable[[int], str]) -> None:
    name = noun.__name__
    one = "entry" if name == "entries" else name.removesuffix("s")
    assert [noun(number) for number in (0, 1, 2)] == [f"0 {name}", f"1 {one}", f"2 {name}"]


@pytest.mark.usefixtures("chinese")
@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.__name__)
def test_chinese_has_one_form_for_all_numbers(noun: Callable[[int], str]) -> None:
    assert noun(1).replace("1", "2") == noun(2)
    assert not re.search("[a-z]", noun(2))


def test_no_sentence_puts_a_number_before_a_fixed_plural() -> None:
    plain = [message for message in translations.marked() if message.id and isinstance(message.id, str)]
    told = [message.id for message in plain if not all("demo_city" in place for place, _line in message.locations)]
    assert len(told) > 100
    assert [text for text in told if _PLURAL.search(text)] == []
