"""What others call their files, and what their machines say, can't take over a terminal or forge a line."""

from __future__ import annotations

import pytest

from drbackup.system.console import one_line, without_controls

REPAINT = "\x1b[2J\x1b]0;owned\x07"


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        (b"srv/plain.txt", "srv/plain.txt"),
        ("企业/登记.csv".encode(), "企业/登记.csv"),
        (b"\xff\xe4\xb8\xad", "\\xff中"),
        ("企业\nfailed: nothing", "企业\\nfailed: nothing"),
        (b"a\x1b[2Jb\r", "a\\x1b[2Jb\\r"),
        ("left\u202eright", "left\\u202eright"),  # turns the reading direction round
        ("c\x9b2J", "c\\x9b2J"),  # an escape sequence's one-letter beginning
        ("a\udcffb", "a\\udcffb"),  # a name that Python read from a filesystem
        ("", ""),
    ],
)
def test_a_name_of_any_bytes_is_one_line_and_readable(foreign: str | bytes, shown: str) -> None:
    assert one_line(foreign) == shown
    assert one_line(foreign).isprintable()


def test_what_a_machine_said_keeps_its_lines_and_nothing_that_repaints() -> None:
    assert without_controls(f"第一行\n\tsecond{REPAINT}\r\n") == "第一行\n\tsecond[2J]0;owned\n"
