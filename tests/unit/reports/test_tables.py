"""What changed between two points is told by path, kind and size."""

from __future__ import annotations

from datetime import UTC
from io import StringIO

from rich.console import Console

from drbackup.reports.tables import Change, changes, changes_table, entries_table, mode_text, path_text
from drbackup.vault.tree import Entry, EntryKind


def file(path: bytes, digest: bytes = b"a", size: int = 1, mode: int = 0o644) -> Entry:
    return Entry(path, EntryKind.FILE, mode=mode, digest=digest, size=size)


def test_every_difference_is_named_once_in_path_order() -> None:
    before = [file(b"a/x"), file(b"a-b"), file(b"gone", size=7), file(b"same")]
    after = [file(b"a/x", b"b", 3), file(b"a-b", mode=0o600), file(b"new", size=5), file(b"same")]
    assert changes(before, after) == [
        Change(b"a/x", "content", 1, 3),
        Change(b"a-b", "attributes", 1, 1),
        Change(b"gone", "removed", before=7),
        Change(b"new", "added", after=5),
    ]


def test_a_name_of_any_bytes_is_shown() -> None:
    assert path_text(b"\xff\xe4\xb8\xad") == "\\xff中"


def test_a_servers_names_can_neither_repaint_a_terminal_nor_forge_a_line() -> None:
    evil = Entry(b"a\x1b[2Jb\nfailed: c", EntryKind.SYMLINK, target=b"\x1b]0;owned\x07", user="[red]root\x1b[1m")
    console = Console(width=200, file=StringIO(), force_terminal=False)
    console.print(entries_table([evil], UTC), changes_table([Change(evil.path, "added", after=1)]))
    assert isinstance(console.file, StringIO)
    said = console.file.getvalue()
    assert not {"\x1b", "\x07"}.intersection(said)
    assert "a\\x1b[2Jb\\nfailed: c" in said
    assert "[red]root\\x1b[1m" in said


def test_modes_read_like_ls() -> None:
    assert mode_text(file(b"x", mode=0o754)) == "-rwxr-xr--"
    assert mode_text(Entry(b"d", EntryKind.DIR, mode=0o700)) == "drwx------"
