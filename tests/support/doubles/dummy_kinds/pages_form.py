"""A check in a policy that the product does not have: how many pages a notebook fills."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from drbackup.model.checks.base import CheckForm
from drbackup.model.quantities import Whole
from drbackup.model.sources.base import SourceSettings
from drbackup.model.strict import Name
from drbackup.model.verdict import Expectation
from drbackup.model.words import Words

LINES = 20  # on a page


class PagesCheck(CheckForm):
    """So many pages, and no other number."""

    kind: ClassVar[str] = "pages"
    words: ClassVar[Words] = Words("页数", "pages")

    source: Name = Field(description="The source it looks at.")
    pages: Whole = Field(description="Pages it must fill.")

    @property
    def query(self) -> str:
        return str(LINES)

    def misfit(self, position: int, source: SourceSettings) -> str:
        return "" if source.kind == "notebook" else "only a notebook has pages"

    def expectation(self) -> Expectation:
        return Expectation(equals=str(self.pages))
