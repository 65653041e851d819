"""No credential of another machine's output reaches a person or a log."""

from __future__ import annotations

import time

import pytest

from drbackup.fleet.channel import StderrTail
from drbackup.system.masking import LONGEST, masked


@pytest.mark.parametrize(
    "text",
    [
        "could not connect to postgresql://backup:hunter2@db1:5432/registry",
        "password=hunter2 host=db1",
        "PGPASSWORD: 'hunter2'",
        'secret_key = "hunter2"',
        "https://store/x?X-Amz-Signature=hunter2&partNumber=1",
        "Authorization: Bearer hunter2",
        "api-key=hunter2;next",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nhunter2 (cut off",
        "--api-key: hunter2",
        "token=hunter2 and more",
        "MYSQL_PWD=hunter2 mariadb-dump",
        "postgres://user:a/hunter2@db/x",
        "password=a,hunter2",
        "password=a;hunter2",
        "password=a&hunter2",
        '{"user": "backup", "password": "hunter2"}',
        "{'token':'hunter2'}",
        "x-amz-security-token=hunter2",
    ],
)
def test_what_looks_like_a_credential_is_masked(text: str) -> None:
    assert "hunter2" not in masked(text)
    assert "***" in masked(text)


def test_ordinary_words_and_chinese_stay() -> None:
    text = "pg_dump: error: 表 企业 不存在 (table enterprise), exit status 1"
    assert masked(text) == text


def test_a_terminal_cannot_be_repainted() -> None:
    assert masked("\x1b[2Jgone\x07\r\nnext\tcolumn") == "[2Jgone\nnext\tcolumn"


def test_only_the_tail_of_stderr_is_kept_and_never_half_a_line() -> None:
    tail = StderrTail(limit=100)
    for number in range(1000):
        tail.add(f"password=hunter{number}\nline {number}\n".encode())
    text = tail.text()
    assert text.endswith("line 999")
    assert len(text) <= 100
    assert "hunter" not in text


@pytest.mark.parametrize(
    "piece",
    ["a", "a.", "secret", "secret ", "secret='", "a://", "a://b:", "authorization", "-----BEGIN ", "-----BEGIN A", " "],
)
def test_an_enemys_text_of_any_length_is_masked_at_once(piece: str) -> None:
    begun = time.process_time()
    text = masked(piece * (20_000_000 // len(piece)))
    assert time.process_time() - begun < 2  # a search that goes back and forth took a quarter of a minute for 20 kB
    assert len(text) < 40_000


def test_a_credential_across_the_cut_is_not_shown_by_half() -> None:
    text = "x" * (LONGEST - 30) + " postgresql://backup:hunter2hunter2hunter2hunter2@db1/registry" + "y" * 1000
    assert "hunter" not in masked(text)
