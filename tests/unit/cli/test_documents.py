"""What is generated or translated is current: every reference page, the exit codes, the Chinese catalogue."""

from __future__ import annotations

import re
from pathlib import Path

from drbackup.errors import all_errors
from tools.docs import sayings, translations
from tools.docs.generate import stale

ROOT = Path(__file__).resolve().parent.parent.parent.parent


def test_what_is_generated_is_current() -> None:
    assert sorted(stale()) == [], "run: make docs"


def test_every_string_is_translated() -> None:
    assert translations.problems() == []


def test_no_string_hides_from_translation() -> None:
    hidden = re.compile(r"""\bf["'].*\{(_|ngettext)\(""")  # extraction does not look into f-strings
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in (ROOT / "drbackup").rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if hidden.search(line)
    ]
    assert found == []


def test_every_exit_code_is_documented_and_no_other() -> None:
    text = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert documented == {kind.exit_code for kind in all_errors().values()} | {0}


# What is neither a constant nor said by a template, and why that is right.
NOT_SAID = {
    "problem.format_message()": "click's own words: CLICK_TEXTS there has their templates",
    "untouched()": "in the reader's language where it is made",
    "_next(installation, diagnosis, failed)": "in the reader's language where it is made",
    "_next(installation, diagnosis, lost)": "in the reader's language where it is made",
    "_next(installation.catalog, reports)": "in the reader's language where it is made",
}


def test_no_error_and_no_finding_hides_from_translation() -> None:
    hidden = [each for each in sayings.sayings().hidden if each.source not in NOT_SAID]
    assert hidden == [], 'say it as a constant, or by say("a template with {values}", values=…)'
    assert {each.source for each in sayings.sayings().hidden} == set(NOT_SAID)
