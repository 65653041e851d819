"""Runs of one source into a small vault, and back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from drbackup.model.point import SourceFacts
from drbackup.vault.read.reader import PointReader
from drbackup.vault.tree import Entry
from drbackup.vault.write.writer import Written
from drbackup.wire.messages import RestoreResult
from drbackup.wire.specs import FolderTarget, InPlaceTarget, Limits, RestoreTarget, SourceSpec
from drbackup_agent.sources.base import SourceContext, Substance, Watch
from drbackup_agent.sources.kinds import open_source
from drbackup_agent.sources.restore import RestoreRequest, restore_point
from tests.support.cities.small_vault import SmallVault


@dataclass(frozen=True)
class Run:
    """One finished copy."""

    written: Written
    facts: SourceFacts
    substance: Substance
    watch: Watch
    reader: PointReader

    @property
    def entries(self) -> dict[bytes, Entry]:
        return {entry.path: entry for entry in self.reader.entries()}


@dataclass
class SourceRuns:
    """``state`` is the agent's state folder."""

    state: Path
    vault: SmallVault = field(default_factory=SmallVault)
    limits: Limits = field(default_factory=lambda: Limits(stall_seconds=30, read_retries=2))
    clock_ns: Callable[[], int] = time.time_ns

    def context(self, **changed: object) -> SourceContext:
        values: dict[str, object] = {
            "state_folder": self.state,
            "label": ("db1.test", "city", "source"),
            "mark": b"mark",
            "limits": self.limits,
            "clock_ns": self.clock_ns,
        }
        return SourceContext(**{**values, **changed})  # type: ignore[arg-type]

    def backup(self, spec: msgspec.Struct, **changed: object) -> Run:
        """Copy as a job does; the cache is saved."""
        self.state.mkdir(exist_ok=True)
        watch = Watch()
        source = open_source(spec, self.context(**changed))
        try:
            source.pin()
            with self.vault.writer() as writer:
                facts = source.copy(writer, watch)
                written = writer.finish()
            source.remember()
            return Run(written, facts, source.substance(), watch, self.vault.reader(written.root))
        finally:
            source.close()

    def restore(
        self, run: Run, target: RestoreTarget | Path, *, paths: tuple[bytes, ...] = (), replace: bool = False
    ) -> RestoreResult:
        """Bring a run's point back."""
        where = FolderTarget(str(target)) if isinstance(target, Path) else _as_sent(target)
        request = RestoreRequest(run.reader, "a1" * 32, self.state, paths, replace, self.limits)
        return restore_point(where, request, Watch())


def _as_sent(target: RestoreTarget) -> RestoreTarget:
    """A target as it comes over the wire: its specification still encoded."""
    if isinstance(target, InPlaceTarget) and isinstance(target.spec, msgspec.Struct):
        return InPlaceTarget(SourceSpec(msgspec.msgpack.encode(target.spec)))
    return target
