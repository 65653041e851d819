"""A drill's checks find every difference, and say nothing of the data they found it in."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3

from drbackup.errors import Interrupted, ObjectCorrupt, RestoreMismatch, ToolFailed
from drbackup.vault.tree import Entry, EntryKind
from drbackup.wire.messages import Measured
from drbackup.wire.specs import CheckSpec
from drbackup_agent.drill.checks.base import path_digest
from drbackup_agent.drill.checks.kinds import measure
from drbackup_agent.drill.checks.sql import figure
from drbackup_agent.drill.without_content import without_content
from drbackup_agent.sources.files.restored_copy import FilesCopy
from drbackup_agent.sources.restored import Counted, RestoredCopy
from drbackup_agent.sources.sqlite.restored_copy import SqliteCopy


@dataclass
class Tree:
    """A point's tree without a vault."""

    listed: list[Entry]

    def entries(self, prefix: bytes = b"") -> Iterator[Entry]:
        return iter(self.listed)


@dataclass
class Rows:
    """A database that answers one query."""

    rows: list[bytes]
    counts: tuple[Counted, ...] = ()
    source: str = "registry"
    folder: Path | None = None
    error: Exception | None = None

    def query(self, text: str) -> Iterator[bytes]:
        if self.error:
            raise self.error
        return iter(self.rows)

    def counted(self) -> Iterator[Counted]:
        return iter(self.counts)


def entry(path: str, data: bytes = b"", kind: EntryKind = EntryKind.FILE, **more: object) -> Entry:
    digest = blake3(data).digest() if kind is EntryKind.FILE else b""
    return Entry(path.encode(), kind, size=len(data), digest=digest, **more)  # type: ignore[arg-type]


@pytest.fixture
def scans(tmp_path: Path) -> FilesCopy:
    """A restored tree: srv/scans with two files and a link."""
    root = tmp_path / "restored"
    (root / "srv" / "scans" / "a").mkdir(parents=True)
    (root / "srv" / "scans" / "a" / "1.tif").write_bytes(b"one")
    (root / "srv" / "scans" / "2.tif").write_bytes(b"two")
    (root / "srv" / "scans" / "out").symlink_to("/etc/passwd")
    listed = [
        entry("srv", kind=EntryKind.DIR),
        entry("srv/scans", kind=EntryKind.DIR),
        entry("srv/scans/2.tif", b"two"),
        entry("srv/scans/a", kind=EntryKind.DIR),
        entry("srv/scans/a/1.tif", b"one"),
        entry("srv/scans/out", kind=EntryKind.SYMLINK, target=b"/etc/passwd"),
        entry("srv/scans/door", kind=EntryKind.SOCKET),
    ]
    return FilesCopy("scans", Tree(listed), root)  # type: ignore[arg-type]


def files(copy: RestoredCopy) -> Measured:
    return measure(CheckSpec(0, "files", "scans"), {"scans": copy})


def across(copy: RestoredCopy, *rows: bytes, below: tuple[str, ...] = ("/srv/scans",)) -> Measured:
    check = CheckSpec(0, "across", "registry", "select path", "scans", below)
    return measure(check, {"scans": copy, "registry": Rows(list(rows))})  # type: ignore[dict-item]


def sql(*rows: bytes) -> Measured:
    return measure(CheckSpec(0, "sql", "registry", "select 1"), {"registry": Rows(list(rows))})  # type: ignore[dict-item]


def test_a_whole_tree_matches(scans: FilesCopy) -> None:
    answer = files(scans)
    assert (answer.value, answer.wrong, answer.error) == (answer.expected, (), "")
    assert answer.value == "2 files, 6 bytes"


@pytest.mark.parametrize("harm", ["content", "size", "missing", "extra", "kind", "link"])
def test_every_kind_of_difference_is_found_and_named_by_hash_only(scans: FilesCopy, harm: str) -> None:
    assert scans.folder is not None
    file = scans.folder / "srv" / "scans" / "2.tif"
    link = scans.folder / "srv" / "scans" / "out"
    if harm == "content":
        file.write_bytes(b"tw0")
    elif harm == "size":
        file.write_bytes(b"two!")
    elif harm == "missing":
        file.unlink()
    elif harm == "extra":
        (file.parent / "李四.tif").write_bytes(b"")
    elif harm == "kind":
        file.unlink()
        file.mkdir()
    else:
        link.unlink()
        link.symlink_to("/etc/shadow")
    answer = files(scans)
    assert len(answer.wrong) == 1
    assert ".tif" not in answer.wrong[0]
    assert "李四" not in answer.wrong[0]


def test_a_hole_that_holds_data_is_a_difference(tmp_path: Path) -> None:
    sparse = msgspec.structs.replace(entry("disk", b"end", holes=((0, 4096),)), size=4099)
    (tmp_path / "disk").write_bytes(b"\0" * 4096 + b"end")
    copy = FilesCopy("scans", Tree([sparse]), tmp_path)  # type: ignore[arg-type]
    assert files(copy).wrong == ()
    (tmp_path / "disk").write_bytes(b"\0" * 4095 + b"x" + b"end")
    assert len(files(copy).wrong) == 1


def test_paths_are_found_absolute_and_below_the_sources_paths(scans: FilesCopy) -> None:
    answer = across(scans, b"a/1.tif", b"/srv/scans/2.tif", b"./a//1.tif")
    assert answer.value == answer.expected == "3 of 3 paths"


@pytest.mark.parametrize(
    "row",
    [
        b"a/9.tif",
        b"out",
        b"../../../../etc/passwd",
        b"",
        b"a",
        b"out/../2.tif",
        b"/etc/passwd",
        b"a/1.tif\0x",
        b"2.tif/x",
    ],
)
def test_a_row_that_names_no_restored_file_is_missing_and_leads_nowhere_else(scans: FilesCopy, row: bytes) -> None:
    answer = across(scans, b"2.tif", row)
    assert answer.value == "1 of 2 paths"
    assert answer.wrong == (path_digest(row),)


@pytest.mark.parametrize(
    ("cell", "shown"),
    [(b"12", "12"), (b"-3.50", "-3.50"), (b"t", "true"), (b"false", "false"), (b" 7 ", "7")],
)
def test_numbers_and_truths_are_shown(cell: bytes, shown: str) -> None:
    assert sql(cell).value == shown


def test_a_text_result_leaves_as_a_digest() -> None:
    answer = sql("张三 330102".encode())
    assert answer.value.startswith("sha256:")
    assert figure("张三 330102".encode()) == answer.value


@pytest.mark.parametrize("rows", [(), (b"1", b"2")])
def test_a_query_must_give_one_row(rows: tuple[bytes, ...]) -> None:
    assert "row" in sql(*rows).error


def test_counts_name_the_tables_that_differ() -> None:
    counts = (
        Counted("public.a", 3, 3, b"x", b"x"),
        Counted("public.b", 3, 4, b"x", b"x"),
        Counted("public.c", 3, 3, b"x", b"y"),
    )
    answer = measure(CheckSpec(0, "counts", "registry"), {"registry": Rows([], counts)})  # type: ignore[dict-item]
    assert answer.wrong == ("public.b: 3 rows, not 4", "public.c: another digest")
    assert (answer.value, answer.expected) == ("3 tables, 9 rows", "3 tables, 10 rows")


def test_a_check_on_a_source_that_was_not_restored_says_so() -> None:
    assert "not restored" in measure(CheckSpec(0, "sql", "registry", "select 1"), {}).error
    assert "no check of kind" in measure(CheckSpec(0, "dance", "registry"), {"registry": Rows([])}).error  # type: ignore[dict-item]


def test_a_failing_check_does_not_stop_the_others_but_a_cancellation_does() -> None:
    broken = Rows([], error=ObjectCorrupt("chunk 3"))
    assert measure(CheckSpec(0, "sql", "registry", "x"), {"registry": broken}).error == "ObjectCorrupt: chunk 3"  # type: ignore[dict-item]
    with pytest.raises(Interrupted):
        measure(CheckSpec(0, "sql", "registry", "x"), {"registry": Rows([], error=Interrupted("stop"))})  # type: ignore[dict-item]


def test_what_a_tool_quotes_does_not_leave_the_host() -> None:
    words = 'load: psql ended with exit code 3: ERROR:  invalid input syntax: "张三" | CONTEXT:  COPY t, line 3'
    said = without_content(ToolFailed(words))
    assert "张三" not in said
    assert "line 3" not in said
    assert "invalid input syntax" in said
    assert without_content(RestoreMismatch("b'srv/李四.tif': differs")) == "RestoreMismatch"


def test_sqlite_is_queried_without_touching_a_byte(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("pragma journal_mode=wal")
        database.execute("create table t(a int, b text)")
        database.execute("insert into t values (1, 'x'), (null, 'y')")
    data = path.read_bytes()
    copy = SqliteCopy("cases", Tree([entry("cases.db", data)]), tmp_path)  # type: ignore[arg-type]
    assert list(copy.query("select a from t order by b")) == [b"1", b""]
    (counted,) = copy.counted()
    assert counted.rows == 2
    assert counted.digest == counted.wanted_digest
    for query in ("select a, b from t", "insert into t values (2, 'z')", "select nothing"):
        assert measure(CheckSpec(0, "sql", "cases", query), {"cases": copy}).error
    assert path.read_bytes() == data
    assert sorted(os.listdir(tmp_path)) == ["cases.db"]
