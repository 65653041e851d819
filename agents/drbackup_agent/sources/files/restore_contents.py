"""Contents of files, written as their parts come from the opening threads.

A file whose content comes in one part is digested before anything is made of it. A larger one is written by several
threads at once, each part at its place; their turn is to digest the parts in order. Either way the file gets its name
only when the digest of the whole is the one that was taken from the source.

Long runs of bytes are written past the page cache where they can be: copying them into it and syncing it behind takes
more processor time than opening them, and a server's cache is better used by its programs.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from blake3 import blake3

from drbackup.errors import Interrupted, RestoreMismatch, say
from drbackup.system.console import one_line
from drbackup.vault.read.batches import PAGE, Part
from drbackup.vault.tree import Entry
from drbackup_agent.sources.base import Watch
from drbackup_agent.sources.files.restore_facts import apply_file_facts, first_mode
from drbackup_agent.sources.files.restore_slot import Slot

_DIRECT = 128 << 10  # bytes; what is shorter is quicker written through the page cache
_LOOK_SECONDS = 0.1  # how soon a thread that waits for its turn learns that it will not come


class Placed(Protocol):
    """Who remembers finished files: :class:`~drbackup_agent.sources.files.restore_journal.RestoreJournal`."""

    def done(self, path: bytes, stat: os.stat_result) -> None: ...


class FileOnItsWay:
    """One file from its entry to its name. ``turn``: the part to be digested next; ``written``: parts; ``parts``: how
    many there are, 0 until that is known. All three are guarded by whoever lets several threads work here."""

    __slots__ = ("_direct", "_hasher", "_segments", "entry", "handle", "parts", "slot", "turn", "written")

    def __init__(self, entry: Entry, slot: Slot) -> None:
        """Raises :class:`RestoreMismatch` when content and holes do not make the size."""
        self.entry = entry
        self.slot = slot
        self.handle = self._direct = -1
        self.turn = self.written = self.parts = 0
        self._hasher: blake3 | None = None
        self._segments = tuple(segments(entry)) if entry.holes else None
        given = sum(extent.length for extent in entry.extents)
        size = entry.size if self._segments is None else sum(length for _, length in self._segments)
        if given != size:
            raise RestoreMismatch(
                say(
                    "{path}: less content than its size allows"
                    if given < size
                    else "{path}: more content than its size allows",
                    path=one_line(entry.path),
                )
            )

    def digest(self, part: Part[FileOnItsWay], memory: memoryview) -> None:
        """The next part in order."""
        if self._hasher is None:
            self._hasher = blake3()
        for start, end in part.spans:
            self._hasher.update(memory[start:end])

    def require_digest(self) -> None:
        """Raises :class:`RestoreMismatch` when the whole is not what was read from the source."""
        entry = self.entry
        if entry.digest and (self._hasher is None or self._hasher.digest() != entry.digest):
            raise RestoreMismatch(
                say("{path}: the restored content has another digest than the copied one", path=one_line(entry.path)),
                where=one_line(entry.path),
            )

    def write(self, part: Part[FileOnItsWay], memory: memoryview) -> None:
        """A part at its place, around the holes."""
        at = part.offset
        try:
            for start, end in part.spans:
                self._write(memory[start:end], start, at)
                at += end - start
        except OSError as bad:
            raise self.slot.error(bad) from bad

    def _write(self, data: memoryview, memory_at: int, at: int) -> None:
        """``memory_at``: where the data lies in its portion's memory."""
        if self._segments is None:
            self._write_run(data, memory_at, at)
            return
        begin = 0  # of this segment, in the content
        for start, length in self._segments:
            if at < begin + length and data:
                here = data[: begin + length - at]
                self._write_run(here, memory_at, start + at - begin)
                data, memory_at, at = data[len(here) :], memory_at + len(here), at + len(here)
            begin += length

    def _write_run(self, data: memoryview, memory_at: int, at: int) -> None:
        """At ``at`` in the file."""
        if self._direct >= 0 and (memory_at - at) % PAGE == 0:
            head = -at % PAGE
            body = (len(data) - head) // PAGE * PAGE
            if body >= _DIRECT and _write_direct(self._direct, data[head : head + body], at + head):
                _write_all(self.handle, data[:head], at)
                data, at = data[head + body :], at + head + body
        _write_all(self.handle, data, at)

    def finish(self, watch: Watch, placed: Placed) -> None:
        """All is written and its digest right: length, facts, name."""
        entry = self.entry
        try:
            if entry.holes:
                os.ftruncate(self.handle, entry.size)
            stat = apply_file_facts(self.handle, entry, watch, inherits=self.slot.level.inherits)
        except OSError as bad:
            raise self.slot.error(bad) from bad
        self._close()
        self.slot.place()
        placed.done(self.slot.path, stat)

    def begin(self) -> None:
        """Make the file under its temporary name."""
        self.handle = self.slot.create(first_mode(self.entry))
        if self.entry.size >= _DIRECT:
            self._direct = self.slot.open_direct()

    def give_up(self) -> None:
        """Leave nothing of an unfinished file. Only when nobody works on it any more."""
        if self.handle >= 0:
            self._close()
            self.slot.forget()

    def _close(self) -> None:
        for handle in (self.handle, self._direct):
            if handle >= 0:
                os.close(handle)
        self.handle = self._direct = -1


class Contents:
    """Takes parts from the opening threads. ``failed`` tells whether something has failed somewhere."""

    def __init__(self, watch: Watch, placed: Placed) -> None:
        self._watch = watch
        self._placed = placed
        self._turn_over = threading.Condition()  # guards the turns and counts of files, and the set
        self._large: set[FileOnItsWay] = set()
        self.failed: Callable[[], bool] = lambda: False

    def take(self, part: Part[FileOnItsWay], memory: memoryview) -> None:
        """One part of one file. Called from several threads at once, with the parts of a file beginning in order."""
        self._watch.check()
        file = part.owner
        if part.number or not part.last:
            self._take_one_of_many(file, part, memory)
            return
        file.digest(part, memory)
        file.require_digest()
        file.begin()
        try:
            file.write(part, memory)
            file.finish(self._watch, self._placed)
        except BaseException:
            file.give_up()
            raise

    def _take_one_of_many(self, file: FileOnItsWay, part: Part[FileOnItsWay], memory: memoryview) -> None:
        self._await_turn(file, part.number)
        if part.number == 0:
            with self._turn_over:
                self._large.add(file)
            file.begin()
        file.digest(part, memory)
        with self._turn_over:
            file.turn += 1
            file.parts = part.number + 1 if part.last else 0
            self._turn_over.notify_all()
        file.write(part, memory)
        with self._turn_over:
            file.written += 1
            if file.written != file.parts:
                return
            self._large.discard(file)
        try:
            file.require_digest()
            file.finish(self._watch, self._placed)
        except BaseException:
            file.give_up()
            raise

    def _await_turn(self, file: FileOnItsWay, number: int) -> None:
        """Return when all parts before this one are digested. Raises when they never will be."""
        with self._turn_over:
            while file.turn != number:
                if self.failed():
                    raise Interrupted("another part of the file failed")
                self._turn_over.wait(_LOOK_SECONDS)

    def give_up(self) -> None:
        """Remove what is unfinished. Only when no thread takes parts any more."""
        for file in self._large:
            file.give_up()


def _write_all(handle: int, data: memoryview, offset: int) -> None:
    while data:
        done = os.pwrite(handle, data, offset)
        data, offset = data[done:], offset + done


def _write_direct(handle: int, data: memoryview, offset: int) -> bool:
    """Whether all of it was written. What this can't do can be done the usual way, or fails there with a reason."""
    try:
        return os.pwrite(handle, data, offset) == len(data)
    except OSError:
        return False


def segments(entry: Entry) -> Iterator[tuple[int, int]]:
    """(offset, length) of the data between the holes. Raises :class:`RestoreMismatch` on a senseless map."""
    at = 0
    for offset, length in (*entry.holes, (entry.size, 0)):
        if offset < at or length < 0 or offset + length > entry.size:
            raise RestoreMismatch(say("{path}: its map of holes makes no sense", path=one_line(entry.path)))
        if offset > at:
            yield at, offset - at
        at = offset + length
