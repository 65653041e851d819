"""A failure keeps its fields beyond its exception, and only one place takes its line apart."""

from __future__ import annotations

import pytest

from drbackup.errors import DrbackupError, Failure, HostUnreachable, WrongKey, all_errors, say


def test_a_failure_is_the_error_again_with_every_field() -> None:
    error = HostUnreachable(
        say("no route to {host}", host="db1"),
        host="db1",
        where="eth0",
        safe="all",
        hint=say("look at {what}", what="it"),
    )
    failure = Failure.of(error)
    again = failure.error()
    assert type(again) is HostUnreachable
    assert (again.message, again.host, again.where, again.safe, again.hint) == (
        "no route to db1",
        "db1",
        "eth0",
        "all",
        "look at it",
    )
    assert again.said.template == "no route to {host}"  # so that a person still reads it in Chinese
    assert failure == Failure.of(again)


@pytest.mark.parametrize("code", sorted(all_errors()))
def test_a_line_is_read_back_as_the_failure_it_was_made_of(code: str) -> None:
    failure = Failure(code, "it: broke: thus")
    assert Failure.read(failure.line) == failure


@pytest.mark.parametrize("text", ["registry/scans has no point: none", "NoSuchError: x", "", "a: b: c"])
def test_a_text_without_a_code_of_ours_is_a_message_without_a_class(text: str) -> None:
    assert Failure.read(text) == Failure("DrbackupError", text)
    assert type(Failure.read(text).error()) is DrbackupError


def test_a_code_alone_is_an_error_that_may_not_say_its_words() -> None:
    assert Failure.read("WrongKey") == Failure(WrongKey.__name__, "")
    assert Failure.read("WrongKey").line == "WrongKey"
