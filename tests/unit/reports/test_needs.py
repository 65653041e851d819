"""What needs a person is said alike by every command, and every code has its words in both languages."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from drbackup.cli.check import needs_lines
from drbackup.controller.catalog.runs import RunState
from drbackup.model.needs import LockFacts, NeedCode, StoreFacts, needs_of
from drbackup.model.scrub import Wounded
from drbackup.reports import month, month_page, status
from drbackup.reports.gettext import speak
from drbackup.reports.needs import need_document, words_of
from drbackup.reports.overview import Memory, Overview, judge
from tests.unit.model.test_needs import CASES, NOW
from tests.unit.reports.test_overview import PLACE, a_drill, a_point, a_policy, a_run

SHANGHAI = ZoneInfo("Asia/Shanghai")


def a_page(overview: Overview) -> month_page.Page:
    span = month.month_at("2026-11", SHANGHAI, NOW)
    return month_page.Page("市", span, [], SHANGHAI, overview.now, overview.needs)


@pytest.mark.parametrize("code", NeedCode)
def test_every_code_has_a_sentence_and_a_step_in_both_languages(code: NeedCode) -> None:
    (need,) = (need for need in needs_of(CASES[code][0], NOW) if need.code is code)
    english = words_of(need, NOW)
    speak("zh_CN")
    try:
        chinese = words_of(need, NOW)
    finally:
        speak("en")
    assert english.what != chinese.what
    for words in (english, chinese):
        assert words.subject
        assert words.next
        assert "{" not in words.what + words.next


@pytest.mark.parametrize("code", NeedCode)
def test_the_document_holds_the_code_and_the_figures_beside_the_words(code: NeedCode) -> None:
    (need,) = (need for need in needs_of(CASES[code][0], NOW) if need.code is code)
    document = json.loads(json.dumps(need_document(need, NOW)))
    assert document["code"] == code
    assert document["severity"] == ("urgent" if document["urgent"] else "notice")
    assert set(document) > {"subject", "what", "next", "urgent"}


def troubled() -> Overview:
    """Trouble of every part of the city at once."""
    memory = Memory(
        newest={PLACE: a_point(timedelta(hours=3))},
        runs={PLACE: a_run(RunState.FAILED, "no route to db1")},
        drills={PLACE[0]: a_drill(timedelta(days=40))},
        damaged={PLACE: [Wounded("cd" * 32, NOW, ("second",), ("offsite",))]},
        lacking={PLACE: {"third": 2}},
        scrubs={"offsite": a_run(RunState.FAILED, "does not answer")},
        read_back={"second": StoreFacts("second", None, NOW - timedelta(days=31), timedelta(days=30))},
        locks=LockFacts(("offsite",), None),
    )
    bare: dict[str, Any] = {"system": "bare", "drill": None}
    return judge("城市", [a_policy(), a_policy(**bare)], memory, NOW)


def test_status_check_and_the_month_report_agree_on_what_needs_a_person() -> None:
    overview = troubled()
    codes = [
        "backup-failed",
        "copy-damaged",
        "never-backed-up",
        "copy-lacking",
        "drill-overdue",
        "no-drill-asked",
        "read-back-failed",
        "read-back-late",
        "locks-not-renewed",
    ]
    assert [need["code"] for need in status.document(overview)["needs"]] == codes
    assert [line.code for line in needs_lines(overview)] == codes
    assert [need["code"] for need in month_page.document(a_page(overview))["needs"]] == codes


def test_the_months_page_names_every_need_with_its_step_as_text_and_as_html() -> None:
    page = a_page(troubled())
    text, html = month_page.markdown(page), month_page.html(page)
    assert "## Needs a person, as of 2026-11-23 12:00" in text
    assert "✗ **enterprise-base/registry** backup failed 5 min ago: no route to db1" in text
    assert "drbackup vault catch-up third" in html
    assert "no route to db1" in html


def test_a_check_of_the_installation_never_fails_by_what_the_city_needs() -> None:
    assert {line.ok for line in needs_lines(troubled())} == {None}
