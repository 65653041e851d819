"""How a table or a text fits the reader's screen. Figures are never cut, and paths to copy stay in one piece."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_ENDLESS = Console(width=100_000)  # only measures


def widest(width: int, *forms: Table) -> Table:
    """The first of ``forms`` that fits into ``width`` columns, else the last; they go from the widest to the narrowest.

    Each is measured, because the same table is wider in one language than in another.
    """
    for form in forms[:-1]:
        if Measurement.get(_ENDLESS, _ENDLESS.options, form).maximum <= width:
            return form
    return forms[-1]


def foldable(table: Table, column: int) -> Table:
    """``table`` itself. Where room is short, this column of long names folds into lines; no character is lost."""
    table.columns[column].no_wrap = False
    table.columns[column].overflow = "fold"
    return table


def unbroken(text: Text, width: int) -> bool:
    """Whether the terminal, not we, should break ``text``: true when one word is longer than ``width`` columns.

    A long path can then be copied without a line break in it. All other text is broken between words.
    """
    return any(len(word) > width for word in text.plain.split())
