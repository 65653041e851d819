"""A text of an error is English everywhere, and remembers how it was said for whoever reads another language."""

from __future__ import annotations

import copy
import pickle

import msgspec
import pytest

from drbackup.errors import DrbackupError, Said, StoreUnavailable, UsageError, say, say_all
from drbackup.reports import gettext
from drbackup.reports.gettext import translated


@pytest.fixture
def chinese() -> object:
    gettext.speak("zh_CN")
    yield
    gettext.speak("en")


def test_what_is_said_is_its_english_text() -> None:
    said = say("store {store}: {what}", store="offsite", what=say("after {tries} tries", tries=3))
    assert said == "store offsite: after 3 tries"
    assert hash(said) == hash(str(said))
    assert type(str(said)) is str


def test_a_text_without_values_keeps_its_braces() -> None:
    assert say("write {system: NAME}") == "write {system: NAME}"
    assert translated(say("write {system: NAME}")) == "write {system: NAME}"


def test_what_was_said_is_not_said_twice() -> None:
    once = say("{a} of {b}", a=1, b=2)
    assert say(once) is once


@pytest.mark.parametrize("through", [copy.copy, copy.deepcopy, lambda said: pickle.loads(pickle.dumps(said))])
def test_a_copy_remembers_how_it_was_said(through: object) -> None:
    said = say("{a} of {b}", a=1, b=say("{c}", c=2))
    again = through(said)  # type: ignore[operator]
    assert (again, again.template, again.values) == (said, said.template, said.values)


def test_an_error_has_plain_texts_that_every_encoder_takes() -> None:
    error = UsageError(say("no {what}", what="store"), hint=say("name {what}", what="one"))
    assert msgspec.json.decode(msgspec.json.encode([error.message, error.safe, error.hint])) == [
        "no store",
        "nothing was started",
        "name one",
    ]
    assert str(error) == "no store"
    assert error.said.template == "no {what}"
    assert error.said_hint.template == "name {what}"


def test_a_reworded_error_is_the_same_with_other_words() -> None:
    error = StoreUnavailable("it is gone", host="a", where="b", hint=say("wait {n} s", n=3))
    reworded = error.reword(say("store {store}: {what}", store="s", what=error.said))
    assert reworded is error
    assert (str(error), error.message, error.host, error.where, error.hint) == (
        "store s: it is gone",
        "store s: it is gone",
        "a",
        "b",
        "wait 3 s",
    )
    assert error.said_hint.template == "wait {n} s"
    assert isinstance(error.said.values["what"], Said)


def test_a_text_that_was_changed_afterwards_is_shown_as_it_is_now() -> None:
    error = DrbackupError(say("no {what}", what="store"))
    error.hint = "another"
    assert error.said_hint == "another"


def test_a_reader_of_chinese_is_told_in_chinese(chinese: object) -> None:
    tries = say("after {tries} tries", tries=3)
    assert translated(say("store {store}: {what}", store="异地", what=tries)) == "对象存储 异地：已尝试 3 次"
    assert translated("nothing was started") == "未启动任何操作"
    assert translated(UsageError("no such thing").said_safe) == "未启动任何操作"


def test_parts_are_told_each_in_its_language(chinese: object) -> None:
    said = say_all([say("after {tries} try", tries=1), "tries {as} is"], "\n")
    assert said == "after 1 try\ntries {as} is"
    assert translated(said) == "已尝试 1 次\ntries {as} is"


def test_an_empty_text_stays_empty(chinese: object) -> None:
    assert translated("") == ""
    assert translated(say("")) == ""
    assert translated(say_all([])) == ""


def test_an_unknown_text_is_shown_in_english(chinese: object) -> None:
    assert translated(say("nobody ever wrote {this}", this=1)) == "nobody ever wrote 1"


def test_a_foreign_text_that_fits_a_template_of_ours_by_chance_breaks_nothing(chinese: object) -> None:
    assert translated(Said("store {store}: {what}", {})) != ""
    stranger = Said("{n} point", {"n": "1"})
    stranger.values = {"m": "1"}
    assert translated(stranger) == "1 point"
