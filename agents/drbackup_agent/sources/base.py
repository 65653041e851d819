"""What every source promises, and what a kind of source says of itself (the list: :mod:`drbackup_agent.sources.kinds`).

A run calls :meth:`Source.pin` once, then :meth:`Source.copy` once, then :meth:`Source.close`, from one thread. A source
never deletes or changes anything of what it copies, except for the canary it was asked to write.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from drbackup.errors import Interrupted, Said
from drbackup.model.point import SourceFacts
from drbackup.vault.read.reader import PointReader
from drbackup.vault.write.writer import PointWriter
from drbackup.wire.messages import PreflightCheck, RestoreResult
from drbackup.wire.specs import Limits
from drbackup_agent.sources.restored import RestoredCopy

MAX_NOTES = 100


class Pin(msgspec.Struct, frozen=True):
    """The source's consistent instant. ``pinned_ns``: UTC nanoseconds, this host's clock, never later than the data."""

    pinned_ns: int
    position: str = ""


class Substance(msgspec.Struct, frozen=True):
    """What a copy really holds, without our own canary and wrapping. ``what`` names the items for a message."""

    items: int
    bytes: int
    what: Said


class SourceContext(msgspec.Struct, frozen=True):
    """What a source needs to know of its host and its run.

    ``state_folder`` is the agent's own; ``label`` names the source in it (domain, system, source); ``mark`` changes
    when the vault's keys change, so that nothing remembered about another vault is believed. ``retired``: packs that
    nothing new may rely on.
    """

    state_folder: Path
    label: tuple[str, str, str]
    mark: bytes = b""
    limits: Limits = msgspec.field(default_factory=Limits)
    use_cache: bool = True
    retired: frozenset[bytes] = frozenset()
    clock_ns: Callable[[], int] = time.time_ns


@dataclass(slots=True)
class Watch:
    """A run's ears and mouth: is it cancelled, and what should a person know afterwards."""

    cancelled: Callable[[], bool] = lambda: False
    retried: list[str] = field(default_factory=list)
    _notes: list[str] = field(default_factory=list)
    _more: int = 0
    _more_retried: int = 0

    def check(self) -> None:
        """Raises :class:`Interrupted` when the run was cancelled. Called between blocks and between paths."""
        if self.cancelled():
            raise Interrupted("the run was cancelled")

    def note(self, text: str) -> None:
        """Remember a line for a person. Bounded: a million odd files must not become a million lines."""
        if len(self._notes) < MAX_NOTES:
            self._notes.append(text)
        else:
            self._more += 1

    def retry(self, what: str) -> None:
        """Remember that ``what`` had to be read again."""
        if len(self.retried) < MAX_NOTES:
            self.retried.append(what)
        else:
            self._more_retried += 1

    @property
    def read_again(self) -> tuple[str, ...]:
        """What had to be read again, as a result tells it."""
        more = (f"and {self._more_retried} more",) if self._more_retried else ()
        return (*self.retried, *more)

    @property
    def notes(self) -> tuple[str, ...]:
        more = (f"and {self._more} more notes",) if self._more else ()
        return (*self._notes, *more)


class Source(Protocol):
    """One kind of source. Raises classes of :mod:`drbackup.errors` only.

    Obligations, held by ``tests/contract/test_sources.py``: a part that can't be read fails the run and is named; a
    part that changes while it is read is read again or fails the run; nothing is copied torn; the same data twice
    gives the same contents, so that a second run adds next to nothing.
    """

    kind: str

    def preflight(self) -> list[PreflightCheck]:
        """What this source needs of the host, looked at. Changes nothing and raises nothing expected."""
        ...

    def pin(self) -> Pin:
        """Write the canary if asked to, then fix the instant. Nothing is copied yet."""
        ...

    def copy(self, writer: PointWriter, watch: Watch) -> SourceFacts:
        """Copy what was pinned. The caller finishes the writer."""
        ...

    def substance(self) -> Substance:
        """What the copy holds; valid after :meth:`copy`."""
        ...

    def remember(self) -> None:
        """Called once the controller has everything: local caches may be replaced now."""
        ...

    def close(self) -> None:
        """Let go of everything; safe to call at any time and twice."""
        ...


class RestoreRequest(msgspec.Struct, frozen=True):
    """One restore. ``point``: the record's id, hex; ``paths``: tree paths, empty for all."""

    reader: PointReader
    point: str
    state_folder: Path
    paths: tuple[bytes, ...] = ()
    replace: bool = False
    limits: Limits = Limits()


class DrillSandbox(Protocol):
    """The part of a drill's sandbox that a kind may use. Everything in it is wiped when the drill ends."""

    folder: Path  # the sandbox's own, for this account only
    stops: list[Callable[[], None]]  # called before the wipe, the last one first

    def folder_for(self, name: str) -> Path:
        """A fresh folder inside :attr:`folder`."""
        ...

    def outside(self, parent: Path, owner: tuple[int, int] | None = None) -> Path:
        """A fresh folder below ``parent`` that is wiped, too; ``owner``: another account (uid, gid) it belongs to."""
        ...


class DrillStage(msgspec.Struct, frozen=True):
    """One point that a drill restores: what there is to read, where it may go, and whose time is measured."""

    source: str  # its name in this drill
    reader: PointReader
    place: str  # a name of its own for folders inside the sandbox
    sandbox: DrillSandbox
    watch: Watch
    stall_seconds: float
    into_folder: Callable[[], RestoreResult]  # writes the point's tree to :attr:`folder`, as any kind can be restored
    phase: Callable[[str], AbstractContextManager[None]]  # keeps the time of a phase that nothing overlaps
    restoring: Callable[[], AbstractContextManager[None]]  # divides its time into fetch, decrypt and restore
    tell_host: Callable[[Mapping[str, str]], None]  # facts for the evidence: the tool, its account, its isolation

    @property
    def folder(self) -> Path:
        """Where :attr:`into_folder` writes."""
        return self.sandbox.folder / self.place


class SourceKind(msgspec.Struct, frozen=True):
    """One kind of source: everything the jobs and drills ask of it."""

    spec: type[msgspec.Struct]  # what the controller sends; its tag is the kind's name in policies and points
    open: Callable[[Any, SourceContext], Source]  # of a value of ``spec``
    # Restores a point to where a value of ``spec`` says the source lives. Nothing that is there goes unless the request
    # says so, and then only when the restored data is there and proven.
    restore: Callable[[Any, RestoreRequest, Watch], RestoreResult]
    drill: Callable[
        [DrillStage], tuple[RestoredCopy, RestoreResult]
    ]  # restores into the sandbox, for checks to look at
    parts_in_place: bool = False  # paths of a point can be restored in place, not only to a folder

    @property
    def name(self) -> str:
        return str(self.spec.__struct_config__.tag)
