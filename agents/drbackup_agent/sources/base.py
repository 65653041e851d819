"""What every source promises, and what a kind of source consists of (the list: :mod:`drbackup_agent.sources.kinds`).

A run calls :meth:`Source.pin` once, then :meth:`Source.copy` once, then :meth:`Source.close`, from one thread. A source
never deletes or changes anything of what it copies, except for the canary when it is asked to write one.
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
    """The consistent instant of a source."""

    pinned_ns: int  # UTC nanoseconds by this host's clock, never later than the data
    position: str = ""  # the database's own position in its log; empty where there is none


class Substance(msgspec.Struct, frozen=True):
    """What a copy really holds, without our own canary and the format around it."""

    items: int
    bytes: int
    what: Said  # what the items are, for a message: files, tables


class SourceContext(msgspec.Struct, frozen=True):
    """What a source needs to know of its host and its run."""

    state_folder: Path  # the agent's own
    label: tuple[str, str, str]  # the source's name in the state folder: domain, system, source
    mark: bytes = b""  # changes with the vault's keys, so that a cache of another vault is not used
    limits: Limits = msgspec.field(default_factory=Limits)
    use_cache: bool = True  # otherwise every file is read again
    retired: frozenset[bytes] = frozenset()  # packs that nothing new may rely on
    clock_ns: Callable[[], int] = time.time_ns  # UTC nanoseconds


@dataclass(slots=True)
class Watch:
    """Whether a run is cancelled, and what a person should know about it afterwards."""

    cancelled: Callable[[], bool] = lambda: False
    retried: list[str] = field(default_factory=list)  # what had to be read again, at most MAX_NOTES
    _notes: list[str] = field(default_factory=list)
    _more: int = 0  # notes beyond MAX_NOTES
    _more_retried: int = 0  # the same of ``retried``

    def check(self) -> None:
        """The run may go on when this returns. Raises :class:`Interrupted` once it is cancelled.

        It is called between blocks and between paths.
        """
        if self.cancelled():
            raise Interrupted("the run was cancelled")

    def note(self, text: str) -> None:
        """One line is kept for a person, or only counted after the first 100: there may be a million odd files."""
        if len(self._notes) < MAX_NOTES:
            self._notes.append(text)
        else:
            self._more += 1

    def retry(self, what: str) -> None:
        """``what`` is kept as read again, or only counted after the first 100."""
        if len(self.retried) < MAX_NOTES:
            self.retried.append(what)
        else:
            self._more_retried += 1

    @property
    def read_again(self) -> tuple[str, ...]:
        """What had to be read again, with a last line for those that were only counted."""
        more = (f"and {self._more_retried} more",) if self._more_retried else ()
        return (*self.retried, *more)

    @property
    def notes(self) -> tuple[str, ...]:
        """The lines for a person, with a last one for those that were only counted."""
        more = (f"and {self._more} more notes",) if self._more else ()
        return (*self._notes, *more)


class Source(Protocol):
    """One source. Raises classes of :mod:`drbackup.errors` only.

    Obligations, tested by ``tests/contract/test_sources.py``:

    - a part that can't be read fails the run and is named;
    - a part that changes while it is read is read again or fails the run, so nothing is copied half old and half new;
    - the same data twice gives the same contents, so that a second run adds next to nothing.
    """

    kind: str  # as :attr:`SourceKind.name`

    def preflight(self) -> list[PreflightCheck]:
        """One check for each thing the source needs of the host. Nothing is changed; a failed check is not raised."""
        ...

    def pin(self) -> Pin:
        """The instant that the copy will show, fixed after the canary was written if asked for. Nothing is sent yet."""
        ...

    def copy(self, writer: PointWriter, watch: Watch) -> SourceFacts:
        """The facts of the copy, after all that was pinned went to ``writer``. The caller finishes the writer."""
        ...

    def substance(self) -> Substance:
        """What the copy holds; valid after :meth:`copy`."""
        ...

    def remember(self) -> None:
        """Local caches are replaced, once the copy is complete and plausible. Raises ``OSError`` when they can't be."""
        ...

    def close(self) -> None:
        """Nothing is held any more: no session, handle or temporary file. Safe at any time and twice."""
        ...


class RestoreRequest(msgspec.Struct, frozen=True):
    """One restore of a point, or of parts of it."""

    reader: PointReader
    point: str  # the record's id, hex
    state_folder: Path  # the agent's own
    paths: tuple[bytes, ...] = ()  # tree paths; empty: all
    replace: bool = False  # whether what is at the target may go
    limits: Limits = Limits()


class DrillSandbox(Protocol):
    """The part of a drill's sandbox that a kind may use. Everything in it is wiped when the drill ends."""

    folder: Path  # the sandbox's own, for this account only
    stops: list[Callable[[], None]]  # called before the wipe, the last one first

    def folder_for(self, name: str) -> Path:
        """A new folder inside :attr:`folder`."""
        ...

    def outside(self, parent: Path, owner: tuple[int, int] | None = None) -> Path:
        """A new folder below ``parent`` that is wiped, too. ``owner`` is (uid, gid) of another account to own it."""
        ...


class DrillStage(msgspec.Struct, frozen=True):
    """One point that a drill restores: its content, its place in the sandbox, and how its times are measured."""

    source: str  # its name in this drill
    reader: PointReader
    place: str  # a name of its own for folders inside the sandbox
    sandbox: DrillSandbox
    watch: Watch
    stall_seconds: float  # a tool that moves no bytes for so long is killed; 0: no limit
    into_folder: Callable[[], RestoreResult]  # writes the point's tree to :attr:`folder`, as any kind can be restored
    phase: Callable[[str], AbstractContextManager[None]]  # a block that is one phase, which no other overlaps
    restoring: Callable[[], AbstractContextManager[None]]  # a block divided into fetch, decrypt and restore
    tell_host: Callable[[Mapping[str, str]], None]  # facts for the evidence: the tool, its account, its isolation

    @property
    def folder(self) -> Path:
        """The folder that :attr:`into_folder` writes."""
        return self.sandbox.folder / self.place


class SourceKind(msgspec.Struct, frozen=True):
    """One kind of source: all that the jobs and drills need of it."""

    spec: type[msgspec.Struct]  # what the controller sends; its tag is the kind's name in policies and points
    open: Callable[[Any, SourceContext], Source]  # of a value of ``spec``
    # Restores a point to where a value of ``spec`` says the source is. What is there is removed only if the request
    # says so, and then only when the restored data is there and proven.
    restore: Callable[[Any, RestoreRequest, Watch], RestoreResult]
    drill: Callable[
        [DrillStage], tuple[RestoredCopy, RestoreResult]
    ]  # restores into the sandbox, for checks to look at
    parts_in_place: bool = False  # paths of a point can be restored in place, not only to a folder

    @property
    def name(self) -> str:
        """The kind's name in policies and points."""
        return str(self.spec.__struct_config__.tag)
