"""A text that was kept without its template is shown in the reader's language all the same, or left as it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from drbackup.errors import Failure, Said, say
from drbackup.reports import gettext
from drbackup.reports.gettext import translated
from drbackup.reports.recall import Recall, system_said

RECALL = Recall(
    [
        "store {store} has no object {name}",
        "{what}: chunk {number} can't be read: {why}",
        "{path}: can't be read",
        "{value}must be {words}",
        "{one}{two} touch each other here",
        "{unit} or {unit}, said twice",
        "the object is gone",
        "files",
        "{n} of",
    ]
)


@pytest.fixture
def chinese() -> Iterator[None]:
    gettext.speak("zh_CN")
    yield
    gettext.speak("en")


@pytest.mark.parametrize(
    ("text", "template", "values"),
    [
        ("store a has no object b", "store {store} has no object {name}", {"store": "a", "name": "b"}),
        ("/srv/x: can't be read", "{path}: can't be read", {"path": "/srv/x"}),
        ("m or m, said twice", "{unit} or {unit}, said twice", {"unit": "m"}),
        ("the object is gone", "the object is gone", {}),
    ],
)
def test_a_text_is_said_again_by_the_template_that_fits_it(text: str, template: str, values: dict[str, str]) -> None:
    said = RECALL.said(text)
    assert said is not None
    assert (said.template, said.values, str(said)) == (template, values, text)


def test_a_value_is_said_again_too() -> None:
    said = RECALL.said("p/1: chunk 3 can't be read: store a has no object b")
    assert said is not None
    assert isinstance(said.values["why"], Said)
    assert said.values["why"].template == "store {store} has no object {name}"
    assert type(said.values["what"]) is str


@pytest.mark.parametrize(
    "text",
    [
        "",
        "store a has no object",
        "store  has no object b",  # a field is never empty
        "m or h, said twice",
        "ab touch each other here",
        "7 of",  # too few words of its own to be sure
        "files",  # a single word may be a name
        "store a has no object " + "b" * 5000,
    ],
)
def test_what_fits_no_template_is_left_as_it_is(text: str) -> None:
    assert RECALL.said(text) is None


def test_a_long_text_of_an_enemy_takes_no_time_to_speak_of() -> None:
    assert RECALL.said(": chunk " * 400) is None


def test_what_the_operating_system_says_is_known_in_both_its_forms() -> None:
    assert system_said("Permission denied") == "Permission denied"
    said = system_said("[Errno 13] Permission denied: '/srv/x'")
    assert said is not None
    assert said.values == {"what": "Permission denied", "rest": ": '/srv/x'"}
    assert system_said("[Errno 13] Something else: '/srv/x'") is None


@pytest.mark.usefixtures("chinese")
def test_a_stored_error_is_read_in_chinese() -> None:
    stored = "store offsite: there is no vault in store offsite"
    assert translated(stored) == "对象存储 offsite：对象存储 offsite 中没有备份库"
    assert translated(say("{path}: {why}", path="/srv", why="Permission denied")) == "/srv: 权限不足"
    assert translated(say("{path}: {why}", path="/srv", why="files")) == "/srv: files"


def test_nothing_is_looked_up_for_a_reader_of_english() -> None:
    assert translated("store offsite: there is no vault in store offsite").startswith("store offsite: ")


@pytest.mark.usefixtures("chinese")
def test_a_stored_line_of_a_recovery_is_read_in_chinese() -> None:
    failure = Failure.read("VaultMissing: there is no vault in store offsite")
    assert str(failure.said) == failure.line
    assert translated(failure.said) == "VaultMissing: 对象存储 offsite 中没有备份库"
    assert translated(Failure.read("the run was cancelled").said) == "本次运行已取消"
