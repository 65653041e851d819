"""The levels of GB/T 20988 as data: what a level asks of seven elements, and the RPO and RTO it stands for.

The standard's tables are in ``policies/levels/<edition>.yaml``, one file per edition, so that a report can name its
edition. A wording that nobody compared with the printed standard has ``confirmed: false``. A compliance report must not
print it as if it were the standard's.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, model_validator

from drbackup.errors import say
from drbackup.model.policy import Defaults
from drbackup.model.quantities import DurationOrZero, YesNo
from drbackup.model.strict import NonEmpty, Strict


class Wording(Strict):
    """A sentence of the standard and whether somebody compared it with the printed text or a public source."""

    text: str
    confirmed: YesNo = False  # somebody compared it
    source: str = ""  # where it was compared


class LevelNumbers(Strict):
    """The RPO or RTO of one level."""

    text: NonEmpty  # as the standard says it
    default: DurationOrZero  # promised when a policy says nothing
    weakest: DurationOrZero | None = Field(default=None, description="A weaker promise does not fit the level.")
    confirmed: YesNo = False
    source: str = ""


class Level(Strict):
    """One level: a system reaches it only if all elements do."""

    title: NonEmpty
    rpo: LevelNumbers
    rto: LevelNumbers
    elements: dict[str, Wording]


class LevelTable(Strict):
    """One edition of the standard."""

    edition: NonEmpty
    title: NonEmpty
    status: NonEmpty = Field(description="In force, or replaced by which edition since when.")
    elements: dict[str, str] = Field(min_length=7, max_length=7, description="The seven elements: key and title.")
    levels: dict[int, Level]

    @model_validator(mode="after")
    def _complete(self) -> LevelTable:
        if sorted(self.levels) != list(range(1, 7)):
            raise ValueError(say("the table has levels {levels}: it needs 1 to 6", levels=sorted(self.levels)))
        for number, level in self.levels.items():
            if set(level.elements) != set(self.elements):
                wrong = sorted(set(level.elements) ^ set(self.elements))
                raise ValueError(
                    say(
                        "level {number} must have exactly the seven elements; look at: {wrong}",
                        number=number,
                        wrong=", ".join(wrong),
                    )
                )
        return self

    def defaults(self, time_zone: str) -> Defaults:
        """The RPO and RTO of each level, for a policy that says none. Zero: the policy must say its own."""
        numbers: dict[int, tuple[timedelta, timedelta]] = {
            number: (level.rpo.default, level.rto.default) for number, level in self.levels.items()
        }
        return Defaults(objectives=numbers, time_zone=time_zone)
