"""The yardstick itself: what it pairs, what it calls a goal reached, and that it leaves the measured data as it was."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tools.bench import machine, page, plot
from tools.bench.data import DataSet
from tools.bench.figures import rows
from tools.bench.results import Results, SetFacts, Step
from tools.bench.run import differences


def results(path: Path, *steps: Step) -> Results:
    return Results(path, sets=[SetFacts("files", 3, 300, 30, False)], steps=list(steps))


def step(engine: str, number: int, wall: float, **more: object) -> Step:
    return Step("files", "local", "first", engine, number, "", wall=wall, **more)  # type: ignore[arg-type]


def test_rounds_are_paired_before_the_median_is_taken(tmp_path: Path) -> None:
    walls = [("drbackup", 1.0, 2.0, 4.0), ("restic", 3.0, 4.0, 12.0), ("borg zstd,3", 9.0, 9.0, 9.0)]
    steps = [step(name, number, wall) for name, *taken in walls for number, wall in enumerate(taken, 1)]
    (row,) = rows(results(tmp_path / "r.json", *steps))
    assert (row.fastest, row.ratios, row.ratio, row.reached) == ("restic", (3.0, 2.0, 3.0), 3.0, True)


def test_a_failed_step_and_the_extra_row_are_no_peer(tmp_path: Path) -> None:
    steps = [step("drbackup", 1, 2.0), step("restic", 1, 0.1, failed="no space"), step("borg lz4", 1, 1.0)]
    assert rows(results(tmp_path / "r.json", *steps)) == []
    (row,) = rows(results(tmp_path / "r.json", *steps, step("borg zstd,3", 1, 3.0)))
    assert (row.fastest, row.ratio, row.reached) == ("borg zstd,3", 1.5, False)


def test_results_come_back_from_their_file(tmp_path: Path) -> None:
    written = results(tmp_path / "r.json", step("restic", 1, 0.1, failed="no space"), step("drbackup", 1, 2.5))
    written.save()
    assert Results.read(tmp_path / "r.json") == written


def test_prose_around_the_tables_is_kept(tmp_path: Path) -> None:
    text = tmp_path / "page.md"
    text.write_text("before\n<!-- ratios -->\nold\n<!-- /ratios -->\nafter\n")
    page.put("ratios", "new \\1", text)
    assert text.read_text() == "before\n<!-- ratios -->\nnew \\1\n<!-- /ratios -->\nafter\n"
    with pytest.raises(ValueError, match="no markers"):
        page.put("other", "", text)


def test_every_table_can_be_made_of_one_round(tmp_path: Path) -> None:
    made = results(tmp_path / "r.json", step("drbackup", 1, 2.0, stored=90), step("restic", 1, 4.0, stored=100))
    found = rows(made)
    assert "**2.00**" in page.ratio_table(found)
    assert "**0.900** | ≤ 1.03 | ✓" in page.stored_table(found)
    assert plot.bars(found, "a & b").startswith("<svg")
    assert page.memory_table(made)
    assert page.bound_table(made, found)


def changing_set(folder: Path) -> DataSet:
    top, changes = folder / "top", folder / "changes"
    (top / "a").mkdir(parents=True)
    changes.mkdir()
    (top / "a/kept").write_text("kept")
    (top / "a/edited").write_text("day 1")
    (top / "gone").write_text("gone")
    (changes / "a").mkdir()
    (changes / "a/edited").write_text("day 2")
    (changes / "new").write_text("new")
    listed = {"mod": ["a/edited"], "add": ["new"], "del": ["gone"], "day": "day1"}
    (folder / "changes.json").write_text(json.dumps(listed))
    return DataSet.parse(f"files={top},{changes}")


def test_a_day_is_switched_in_and_out_again(tmp_path: Path) -> None:
    data = changing_set(tmp_path)
    kept = (data.folder / "a/kept").stat()
    for day, edited, names in ((2, "day 2", ["a", "new"]), (2, "day 2", ["a", "new"]), (1, "day 1", ["a", "gone"])):
        data.switch(day)
        assert (data.folder / "a/edited").read_text() == edited
        assert sorted(os.listdir(data.folder)) == names
    assert (data.folder / "a/kept").stat() == kept


def test_a_restored_tree_that_differs_is_named(tmp_path: Path) -> None:
    first = changing_set(tmp_path).folder
    (first / "link").symlink_to("gone")
    copy = tmp_path / "out" / str(first).lstrip("/")
    copy.parent.mkdir(parents=True)
    shutil.copytree(first, copy, symlinks=True)
    assert differences(first, tmp_path / "out") == []
    (copy / "gone").write_text("gonE")
    (copy / "more").touch()
    (copy / "link").unlink()
    (copy / "link").symlink_to("else")
    assert differences(first, tmp_path / "out") == ["more", "gone", "link"]


def test_a_commands_memory_is_its_own_and_its_childrens(tmp_path: Path) -> None:
    ballast = bytearray(b"x" * (150 << 20))  # what runs the bench may be large
    small = machine.run([sys.executable, "-c", "pass"], dict(os.environ), tmp_path, tmp_path / "log")
    large = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'b = bytes(1) * (120 << 20)'])"
    parent = machine.run([sys.executable, "-c", large], dict(os.environ), tmp_path, tmp_path / "log")
    assert small.code == parent.code == 0
    assert small.largest < 60 << 20 < 110 << 20 < parent.largest < len(ballast) + (60 << 20)


def test_a_command_that_hangs_is_ended_and_counts_as_failed(tmp_path: Path) -> None:
    took = machine.run(["sleep", "600"], dict(os.environ), tmp_path, tmp_path / "log", limit=0.5)
    assert took.code != 0
