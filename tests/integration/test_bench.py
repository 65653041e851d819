"""The yardstick measures the real command through all its steps."""

from __future__ import annotations

from pathlib import Path

from tools.bench import run
from tools.bench.figures import OURS
from tools.bench.results import OPERATIONS, Results


def test_every_step_of_a_small_set_is_measured_and_its_restore_compared(tmp_path: Path) -> None:
    wanted = ["--size", "1", "--patience", "0", "--engine", OURS, "--make", "files", "--no-page"]
    run.main([*wanted, "--work", str(tmp_path), "--results", str(tmp_path / "results.json")])
    results = Results.read(tmp_path / "results.json")
    assert [step.failed for step in results.steps if step.failed] == []
    done = {(step.set, step.operation) for step in results.steps}
    assert done == {("files", operation) for operation in OPERATIONS}
    assert all(step.wall > 0 and step.largest > 10 << 20 and step.stored for step in results.steps)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
