"""The texts of errors and findings are found wherever they stand, and what hides from translation is named."""

from __future__ import annotations

import ast

import pytest

from tools.docs.sayings import found_in, sayings


def _found(source: str, file: str = "drbackup/x.py") -> tuple[list[str], list[str]]:
    errors = ast.parse("class DrbackupError(Exception):\n  hint = 'look'\n\nclass UsageError(DrbackupError): pass")
    result = found_in({"drbackup/errors.py": errors, file: ast.parse(source)})
    return [text.text for text in result.texts if text.text != "look"], [each.source for each in result.hidden]


@pytest.mark.parametrize(
    "source",
    [
        "raise UsageError(say('no {a}', a=1))",
        "raise DrbackupError('gone', hint=say('no {a}', a=1))",
        "raise UsageError(say('no {a}' if one else 'none of {a}', a=1))",
        "def f(words: Said): raise UsageError(words)",
        "def f() -> Said: return say('no {a}', a=1)\ndef g(): raise UsageError(f())",
        "def f():\n  words = say('no {a}', a=1)\n  raise UsageError(words)",
        "raise UsageError(error.said, hint=error.said_hint)",
        "raise UsageError(_('no'))",
        "def f():\n  words = _('no {a}')\n  raise UsageError(words.format(a=1))",
        "class Own(UsageError): pass\nraise Own(say('no {a}', a=1))",
        "NO = 'no'\nraise UsageError(NO)",
    ],
)
def test_a_text_that_can_be_translated_does_not_hide(source: str) -> None:
    assert _found(source)[1] == []


@pytest.mark.parametrize(
    "source",
    [
        "raise UsageError(f'no {a}')",
        "raise UsageError('no ' + a)",
        "raise UsageError('no %s' % a)",
        "raise UsageError('no {}'.format(a))",
        "raise UsageError(say(f'no {a}', a=1))",
        "raise UsageError('gone', hint=f'no {a}')",
        "raise UsageError('gone', safe=f'no {a}')",
        "def f(words: str): raise UsageError(words)",
        "def f():\n  words = f'no {a}'\n  raise UsageError(words)",
        "class Own(UsageError): pass\nraise Own(f'no {a}')",
        "raise UsageError(say('no {a} in {b}', a=1))",
        "raise UsageError(say('no {a:>9}', a=1))",
        "raise UsageError(say('no {a!r}', a=1))",
        "raise UsageError(say('no {a} or {b}' if one else 'no {a}', a=1))",
        "document.finding((), f'no {a}')",
        "document.finding((), 'no', f'no {a}')",
    ],
)
def test_a_text_that_nobody_could_translate_is_named(source: str) -> None:
    assert len(_found(source)[1]) == 1


def test_every_branch_of_a_template_is_found() -> None:
    assert _found("say('one {a}' if a else 'more {a}', a=1)")[0] == ["one {a}", "more {a}"]


def test_the_defaults_of_every_error_class_are_found() -> None:
    texts = {text.text for text in sayings().texts}
    assert {
        "nothing was started",
        "run: drbackup agents deploy HOST",
        "every committed recovery point is untouched",
    } <= texts
