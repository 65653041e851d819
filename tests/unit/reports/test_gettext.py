"""The reader's language is chosen by the environment, and every string has its translation."""

from __future__ import annotations

import pytest

from drbackup.reports import gettext


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh_CN"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "en_US.UTF-8", "DRBACKUP_LANG": "zh-CN"}, "zh_CN"),
        ({"LC_MESSAGES": "zh_CN", "LANG": "en_GB"}, "zh_CN"),
    ],
)
def test_the_environment_chooses_the_language(environment: dict[str, str], language: str) -> None:
    assert gettext.language_of(environment) == language


def test_an_unknown_language_shows_english() -> None:
    gettext.speak("tlh")
    try:
        assert gettext._("System") == "System"
    finally:
        gettext.speak("en")
