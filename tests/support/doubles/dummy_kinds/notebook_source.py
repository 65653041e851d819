"""A notebook on the agent: read, put back, restored for a drill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from drbackup.errors import SourceUnreadable, TargetOccupied
from drbackup.model.point import SourceFacts
from drbackup.vault.tree import Entry, EntryKind
from drbackup.vault.write.writer import PointWriter
from drbackup.wire.messages import PreflightCheck, RestoreResult
from drbackup_agent.sources.base import (
    DrillStage,
    Pin,
    RestoreRequest,
    SourceContext,
    SourceKind,
    Substance,
    Watch,
)
from drbackup_agent.sources.restored import Counted, FolderCopy

LINES = b"lines"


class NotebookSpec(msgspec.Struct, frozen=True, tag="notebook"):
    page: str


class NotebookSource:
    kind = "notebook"

    def __init__(self, spec: NotebookSpec, context: SourceContext) -> None:
        self._page = Path(spec.page)
        self._context = context
        self._text = b""
        self._pin = Pin(0)

    def preflight(self) -> list[PreflightCheck]:
        there = self._page.exists()
        return [PreflightCheck(f"notebook {self._page}", there, "there" if there else "not there")]

    def pin(self) -> Pin:
        self._pin = Pin(self._context.clock_ns())
        try:
            self._text = self._page.read_bytes()
        except OSError as bad:
            raise SourceUnreadable(f"{self._page}: {bad.strerror}") from bad
        return self._pin

    def copy(self, writer: PointWriter, watch: Watch) -> SourceFacts:
        rows = self._text.count(b"\n")
        writer.add(Entry(LINES, EntryKind.FILE, 0o600, rows=rows), writer.stream([self._text]))
        return SourceFacts(self._pin.pinned_ns, self.kind, tool="pencil 2B", notes=watch.notes)

    def substance(self) -> Substance:
        return Substance(self._text.count(b"\n"), len(self._text), "lines")

    def remember(self) -> None: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class NotebookCopy(FolderCopy):
    """Answers any query with the number of its lines."""

    def query(self, text: str) -> Iterator[bytes]:
        yield b"%d" % self._lines()

    def counted(self) -> Iterator[Counted]:
        entry = next(iter(self.reader.entries()))
        yield Counted("lines", self._lines(), entry.rows, entry.digest, entry.digest)

    def _lines(self) -> int:
        assert self.folder is not None
        return (self.folder / LINES.decode()).read_bytes().count(b"\n")


def _restore(spec: NotebookSpec, request: RestoreRequest, watch: Watch) -> RestoreResult:
    page = Path(spec.page)
    if page.exists() and not request.replace:
        raise TargetOccupied(f"{page} exists")
    entry = next(iter(request.reader.entries()))
    page.write_bytes(b"".join(request.reader.content(entry)))
    return RestoreResult(1, 1, entry.size, notes=watch.notes)


def _drill(stage: DrillStage) -> tuple[NotebookCopy, RestoreResult]:
    with stage.phase("start"):
        stage.tell_host({"paper": "A5"})
    result = stage.into_folder()
    return NotebookCopy(stage.source, stage.reader, stage.folder), result


NOTEBOOK = SourceKind(spec=NotebookSpec, open=NotebookSource, restore=_restore, drill=_drill)
