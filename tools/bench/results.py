"""Raw results of measurements: one JSON file, written anew after every step, so that nothing measured is lost."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

OPERATIONS = ("first", "no-change", "day 2", "restore", "check")


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One command of one engine in one round. Seconds and bytes; ``stored``, ``objects``: what the store holds after
    it; ``requests``, ``server_cpu``: of the S3 server meanwhile; ``other``: see :class:`tools.bench.machine.Took`;
    ``waited``: for a quiet machine, negative when it never became quiet; ``failed``: why it does not count."""

    set: str
    place: str
    operation: str
    engine: str
    round: int
    at: str
    wall: float = 0.0
    cpu: float = 0.0
    largest: int = 0
    helper: int = 0
    together: int = 0
    stored: int = 0
    objects: int = 0
    requests: int = 0
    server_cpu: float = 0.0
    other: float = 0.0
    waited: float = 0.0
    failed: str = ""


class Bound(msgspec.Struct, frozen=True):
    """What other tools take for a part of the same work. ``size``: bytes it wrote, 0 where that says nothing."""

    set: str
    operation: str
    what: str
    wall: float
    cpu: float
    size: int = 0


class SetFacts(msgspec.Struct, frozen=True):
    """A data set: ``files`` and ``size`` (bytes) of day 1, ``changed``: bytes of day 2's new and changed files."""

    name: str
    files: int
    size: int
    changed: int
    given: bool


@dataclass
class Results:
    """Everything of one results file."""

    path: Path
    about: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    sets: list[SetFacts] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    bounds: list[Bound] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Results:
        """Raises ``FileNotFoundError`` and msgspec's errors."""
        found = msgspec.json.decode(path.read_bytes(), type=_File)
        return cls(path, **{name: getattr(found, name) for name in found.__struct_fields__})

    def save(self) -> None:
        """One step a line, so that versions of the file can be compared."""
        parts = {name: getattr(self, name) for name in _File.__struct_fields__}
        lines = [f'"{name}": {_lines(part)}' for name, part in parts.items()]
        aside = self.path.with_name(f"{self.path.name}.new")
        aside.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        os.replace(aside, self.path)

    def rounds(self, set_name: str, place: str) -> int:
        """How many rounds of that kind there are already."""
        return max((step.round for step in self.steps if (step.set, step.place) == (set_name, place)), default=0)


class _File(msgspec.Struct, frozen=True):
    about: dict[str, str]
    versions: dict[str, str]
    sets: list[SetFacts]
    steps: list[Step]
    bounds: list[Bound]
    skipped: list[str]


def _lines(part: object) -> str:
    if isinstance(part, list) and part:
        return "[\n  " + ",\n  ".join(msgspec.json.encode(each).decode() for each in part) + "\n]"
    return msgspec.json.format(msgspec.json.encode(part), indent=2).decode()
