"""Fitting what is shown to the reader's screen: figures are never cut, and what is copied stays in one piece."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_ENDLESS = Console(width=100_000)  # only measures


def widest(width: int, *forms: Table) -> Table:
    """The first of ``forms``, which go from the widest to the narrowest, that fits into ``width`` columns; else the
    last. Measured, because the same table is wider in one language than in another."""
    for form in forms[:-1]:
        if Measurement.get(_ENDLESS, _ENDLESS.options, form).maximum <= width:
            return form
    return forms[-1]


def foldable(table: Table, column: int) -> Table:
    """Let this column of long names give way to the others, over several lines, without losing a character."""
    table.columns[column].no_wrap = False
    table.columns[column].overflow = "fold"
    return table


def unbroken(text: Text, width: int) -> bool:
    """Whether the terminal itself should break ``text``: a path longer than a line must be copied without a line break
    in it. All else is broken between words, custodians' words above all."""
    return any(len(word) > width for word in text.plain.split())
