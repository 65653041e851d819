"""What is left out of a line is counted, and the line says what shows it."""

from __future__ import annotations

from drbackup.reports.shortened import FEW, few


def test_few_words_are_all_said() -> None:
    assert few([]) == ""
    assert few(["a"] * FEW) == "; ".join(["a"] * FEW)


def test_many_words_are_counted() -> None:
    said = few([str(number) for number in range(FEW + 2)], ", ", "drbackup evidence verify")
    assert said == "0, 1, 2, 3, 4 … and 2 more (drbackup evidence verify shows all)"
