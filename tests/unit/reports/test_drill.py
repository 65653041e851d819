"""A drill's page says everything the evidence says, in both languages, and needs nothing from anywhere else."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace as change

from drbackup.controller.drills.statement import (
    CheckOutcome,
    DrillStatement,
    PhaseSpan,
    PointUsed,
    StatedRule,
    decode,
    encode,
)
from drbackup.controller.evidence import Evidence
from drbackup.errors import ObjectCorrupt
from drbackup.model.verdict import Rule, Verdict
from drbackup.reports import bilingual
from drbackup.reports.drill import render, write_report

DECLARED = datetime(2026, 11, 1, 3, 0, tzinfo=UTC)


def statement() -> DrillStatement:
    """A drill that went well."""
    pinned = DECLARED - timedelta(minutes=20)
    return DrillStatement(
        id="20261101T030000Z-enterprise-base-4f2a",
        kind="drill",
        scenario="主机房不可用,仅凭异地副本恢复 The machine room is lost; only the offsite copy is left",
        city="杭州市容灾备份中心",
        system="enterprise-base",
        title="企业基础信息库",
        department="market-regulation",
        level=4,
        time_zone="Asia/Shanghai",
        planned_at=DECLARED,
        declared_at=DECLARED,
        ended_at=DECLARED + timedelta(seconds=64),
        verdict="passed",
        promised_rto=8 * 3600,
        promised_rpo=3600,
        measured_rto=61.4,
        measured_rpo=1203.5,
        selection="最新恢复点 newest",
        agent="drill1",
        host={
            "hostname": "drill1",
            "platform": "Linux x86_64",
            "isolation": "no network: its namespace has no interface but lo",
            "postgres": "15.18",
        },
        points=(
            PointUsed(
                id="ab" * 32,
                name="v1/r/enterprise-base/x",
                source="registry",
                kind="postgres",
                domain="db1",
                store="offsite",
                pinned_at=pinned,
                committed_at=pinned,
                canary_at=pinned,
                files=12,
                rows=182_334,
                bytes=412_000_000,
            ),
            PointUsed(
                id="cd" * 32,
                name="v1/r/enterprise-base/y",
                source="scans",
                kind="files",
                domain="db1",
                store="offsite",
                pinned_at=pinned,
                committed_at=pinned,
                canary_at=pinned,
                files=40_112,
                bytes=9_412_000_000,
            ),
        ),
        phases=(
            PhaseSpan("registry", "locate", 1.2, 1.9),
            PhaseSpan("registry", "start", 1.9, 4.1),
            PhaseSpan("registry", "fetch", 4.1, 12.0),
            PhaseSpan("registry", "decrypt", 12.0, 14.2),
            PhaseSpan("registry", "restore", 14.2, 25.0),
            PhaseSpan("scans", "locate", 25.0, 25.3),
            PhaseSpan("scans", "fetch", 25.3, 41.0),
            PhaseSpan("scans", "decrypt", 41.0, 44.0),
            PhaseSpan("scans", "restore", 44.0, 55.0),
            PhaseSpan("registry", "check", 55.0, 57.5),
            PhaseSpan("scans", "check", 57.5, 61.4),
            PhaseSpan("", "wipe", 61.4, 63.0),
        ),
        checks=(
            CheckOutcome(
                number=0,
                kind="sql",
                source="registry",
                query="select count(*) from enterprise",
                expected="≥ 1000",
                seen="182334",
                compared=1,
                passed=True,
            ),
            CheckOutcome(
                number=1,
                kind="across",
                source="registry",
                other="scans",
                query="select path from attachment",
                expected="40100 of 40100 paths",
                seen="40100 of 40100 paths",
                compared=40100,
                passed=True,
            ),
        ),
        findings=(),
        wiped=True,
        wipe_proof="3 folder(s) with 40412 file(s), 9824001234 bytes removed; no process left",
        attribution="Fetch, decrypt and restore overlap; each got its share of their common time.",
        software="drbackup 0.1.0",
    )


def failed() -> DrillStatement:
    """A drill that found a damaged point."""
    good = statement()
    return msgspec.structs.replace(
        good,
        verdict="failed",
        measured_rpo=None,
        findings=(
            StatedRule("not-restored", "scans", "ObjectCorrupt: chunk 7 does not open"),
            StatedRule("check-error", "#2 registry", "source scans was not restored as files"),
            StatedRule("canary-missing", "registry", condition=True),
        ),
        checks=(
            good.checks[0],
            msgspec.structs.replace(
                good.checks[1], passed=False, seen="", reason="source scans was not restored as files", compared=0
            ),
        ),
        points=(
            good.points[0],
            msgspec.structs.replace(good.points[1], failure="ObjectCorrupt: chunk 7 does not open", canary_at=None),
        ),
    )


def evidence(folder: Path) -> Evidence:
    return Evidence(
        id="12" * 32,
        sequence=7,
        subject="drill",
        when=DECLARED,
        previous="34" * 32,
        object_path=folder / f"20261101T030000Z-{'12' * 32}.evidence",
    )


@pytest.mark.parametrize("made", [statement, failed])
def test_a_page_needs_nothing_from_anywhere_else(made: object, tmp_path: Path) -> None:
    page = render(evidence(tmp_path), encode(made()))  # type: ignore[operator]
    assert not re.search(r"(?i)<script|<link|src=|@import|url\(", page)
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page)


def test_a_page_names_figures_hashes_and_both_languages(tmp_path: Path) -> None:
    page = render(evidence(tmp_path), encode(statement()))
    for wanted in (
        "通过",
        "Passed",
        "企业基础信息库",
        "1 分 1 秒",
        "20 分 3 秒",
        "12" * 32,
        "34" * 32,
        "182334",
        "11:00:00",
    ):
        assert wanted in page, wanted
    assert "整改措施" not in page


def test_a_failed_drill_shows_every_finding_and_asks_for_an_owner(tmp_path: Path) -> None:
    page = render(evidence(tmp_path), encode(failed()))
    for wanted in ("未通过", "恢复失败", "chunk 7 does not open", "未测得", "整改措施", "责任人", "需整改"):
        assert wanted in page, wanted


def test_text_from_outside_can_not_become_markup(tmp_path: Path) -> None:
    nasty = msgspec.structs.replace(
        statement(), title="<script>alert(1)</script>", phases=(PhaseSpan("<b>", "fetch", 0, 1),)
    )
    page = render(evidence(tmp_path), encode(nasty))
    assert "<script>" not in page
    assert "<b>:" not in page
    assert ">&lt;b&gt;<" in page


def test_a_drill_that_did_not_run_still_makes_a_page(tmp_path: Path) -> None:
    empty = msgspec.structs.replace(
        statement(),
        verdict="not-run",
        points=(),
        phases=(),
        checks=(),
        host={},
        wiped=False,
        wipe_proof="",
        measured_rto=None,
        measured_rpo=None,
        findings=(StatedRule("not-started", "", "drill1 is unreachable"),),
    )
    page = render(evidence(tmp_path), encode(empty))
    assert "未执行" in page
    assert "drill1 is unreachable" in page
    assert "<svg" not in page


def test_the_page_is_written_beside_its_evidence(tmp_path: Path) -> None:
    found = evidence(tmp_path)
    found.statement_path.write_bytes(encode(statement()))
    assert write_report(found) == found.report_path
    assert found.report_path.read_text().startswith("<!doctype html>")
    assert found.report_path.stat().st_mode & 0o777 == 0o600


def test_a_statement_survives_its_own_encoding() -> None:
    assert decode(encode(failed()), "x") == failed()
    with pytest.raises(ObjectCorrupt):
        decode(b"{}", "x")


def test_every_rule_and_verdict_has_words_in_both_languages() -> None:
    assert set(bilingual.RULES) == set(Rule)
    assert set(bilingual.VERDICTS) == set(Verdict)
    assert all(words.zh and words.en for words in (*bilingual.RULES.values(), *bilingual.VERDICTS.values()))


@pytest.mark.parametrize(
    ("seconds", "zh", "en"),
    [
        (0.5, "0.50 秒", "0.50 s"),
        (59.94, "59.9 秒", "59.9 s"),
        (3600, "1 小时", "1 h"),
        (3725, "1 小时 2 分", "1 h 2 min"),
        (90061, "1 天 1 小时", "1 d 1 h"),
        (-61, "-1 分 1 秒", "-1 min 1 s"),
        (None, "未测得", "not measured"),
    ],
)
def test_lengths_are_read_at_a_glance(seconds: float | None, zh: str, en: str) -> None:
    assert bilingual.length(seconds) == bilingual.Words(zh, en)


def test_a_span_from_evidence_is_read_as_a_length() -> None:
    assert bilingual.span_text(str(timedelta(days=1, hours=2))).en == "1 d 2 h"
    assert bilingual.span_text("scans: another digest").en == "scans: another digest"
    assert change(evidence(Path("/x")), sequence=8).statement_path.suffix == ".json"
