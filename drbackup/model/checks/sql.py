"""A query in a policy's drill, and what it must answer."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar, Self

from pydantic import Field, model_validator

from drbackup.errors import Said, say
from drbackup.model.checks.base import CheckForm
from drbackup.model.sources.base import SourceSettings
from drbackup.model.strict import Name, NonEmpty, Strict
from drbackup.model.verdict import Expectation
from drbackup.model.words import Words

Scalar = str | int | float | bool | None


class Expect(Strict):
    """What the first column of the first row must be."""

    equals: Scalar = Field(default=None, description="Exactly this value; stands alone.")
    min: float | None = Field(default=None, description="At least.")
    max: float | None = Field(default=None, description="At most.")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("an expectation needs one of equals, min, max")
        if "equals" in self.model_fields_set and len(self.model_fields_set) > 1:
            raise ValueError("equals stands alone: leave out min and max")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(
                say("min {min} is greater than max {max}: nothing can pass", min=f"{self.min:g}", max=f"{self.max:g}")
            )
        return self


class SqlCheck(CheckForm):
    """A query whose answer must be as expected."""

    kind: ClassVar[str] = "sql"
    words: ClassVar[Words] = Words("查询", "query")

    source: Name = Field(description="The source it looks at.")
    sql: NonEmpty = Field(description="A query on the restored database.")
    expect: Expect = Field(description="What the query must answer.")

    @property
    def query(self) -> str:
        return self.sql

    def misfit(self, position: int, source: SourceSettings) -> Said:
        del position
        return say("") if source.is_database else say("only a database can be asked by sql")

    def expectation(self) -> Expectation:
        given = self.expect
        return Expectation(
            equals=_plain(given.equals) if "equals" in given.model_fields_set else None,
            min=_bound(given.min),
            max=_bound(given.max),
        )


def _bound(value: float | None) -> Decimal | None:
    """As a person wrote it: 1000, not 1000.0."""
    if value is None:
        return None
    return Decimal(int(value)) if value.is_integer() else Decimal(repr(value))


def _plain(value: str | int | float | bool | None) -> str:
    """A YAML value as a query's result is written."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
