"""An error keeps its texts and how they were said across the wire; no peer's template can hide or break anything."""

from __future__ import annotations

import json

import pytest

from drbackup.errors import DrbackupError, Said, StoreUnavailable, UsageError, say
from drbackup.system.masking import masked
from drbackup.wire.error_fields import error_of, fields_of


def test_an_error_comes_back_as_it_was_said() -> None:
    inner = say("after {tries} tries", tries=3)
    error = StoreUnavailable(
        say("store {store}: {what}", store="offsite", what=inner), where="x", hint=say("wait {n} s", n=5)
    )
    back = error_of(error.code, fields_of(error))
    assert type(back) is StoreUnavailable
    assert (back.message, back.where, back.safe, back.hint) == (error.message, "x", error.safe, "wait 5 s")
    assert back.said.template == "store {store}: {what}"
    assert isinstance(back.said.values["what"], Said)
    assert back.said_hint.template == "wait {n} s"


def test_an_error_without_values_sends_its_texts_only() -> None:
    assert "said" not in fields_of(UsageError("no such thing"))


def test_an_older_side_is_understood() -> None:
    back = error_of("UsageError", {"message": "no such thing", "hint": "look"})
    assert (type(back), back.message, back.hint, back.safe) == (UsageError, "no such thing", "look", UsageError.safe)


_PLAIN = "no store x"
_BOMB = "{a}" * 5000


@pytest.mark.parametrize(
    "said",
    [
        "",
        "no JSON",
        "[]",
        "5",
        '{"message": 5}',
        '{"message": ["no store {s}", {"s": 5}]}',
        "[" * 30_000,
        json.dumps({"message": ["no store {s}", {"s": "y"}]}),
        json.dumps({"message": ["no store {s.__class__}", {"s": "x"}]}),
        json.dumps({"message": ["no store {s[0]}", {"s": "x"}]}),
        json.dumps({"message": ["no store {s!r}", {"s": "x"}]}),
        json.dumps({"message": ["no store {s:>99999999}", {"s": "x"}]}),
        json.dumps({"message": ["no store {0}", {"0": "x"}]}),
        json.dumps({"message": ["no store {", {"s": "x"}]}),
        json.dumps({"message": ["no store {missing}", {"s": "x"}]}),
        json.dumps({"message": [_BOMB, {"a": [_BOMB, {"a": [_BOMB, {"a": "x" * 10_000}]}]}]}),
        json.dumps({"message": ["no store {s}", {"s": "x"}], "hint": ["{h}", {"h": "h" * 70_000}]}),
        json.dumps({"elsewhere": ["no store {s}", {"s": "x"}]}),
    ],
    ids=lambda said: said[:40],
)
def test_a_peer_that_lies_about_how_it_was_said_is_shown_in_plain_text(said: str) -> None:
    back = error_of("UsageError", {"message": _PLAIN, "said": said})
    assert back.message == _PLAIN
    assert back.said.values == {}


def test_a_value_that_nests_for_ever_is_shown_in_plain_text() -> None:
    form: list[object] = ["x", {}]
    for _ in range(20):
        form = ["{a}", {"a": form}]
    back = error_of("UsageError", {"message": "x", "said": json.dumps({"message": form})})
    assert back.said.values == {}


def test_secrets_are_masked_in_values_as_in_texts() -> None:
    error = DrbackupError(say("can't open {url}", url="postgres://me:geheim@host/db"))
    back = error_of(error.code, fields_of(error), masked)
    assert "geheim" not in back.message
    assert back.said.template == "can't open {url}"
    assert "geheim" not in back.said.values["url"]


def test_a_secret_across_template_and_value_is_masked() -> None:
    error = DrbackupError(say("password={what}", what="geheim"))
    back = error_of(error.code, fields_of(error), masked)
    assert "geheim" not in back.message
    assert back.said.values == {}


def test_a_template_that_repaints_a_terminal_is_not_shown() -> None:
    error = DrbackupError(say("\x1b[2Jno {what}", what="store"))
    back = error_of(error.code, fields_of(error), masked)
    assert "\x1b" not in back.message
    assert "\x1b" not in back.said.template
