"""Contents of files, written as their parts come from the decrypting threads.

A file whose content comes in one part is digested before it is made. A larger one is written by several threads at
once, each part at its place; they take turns to digest the parts in order. In both cases the file gets its name only
when the digest of the whole is the one that was taken from the source.

Long runs of bytes are written past the page cache where that is possible. Copying them into the cache and syncing it
takes more processor time than decrypting them, and the server's own programs need the cache.
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

_DIRECT = 128 << 10  # bytes; shorter runs are written faster through the page cache
_LOOK_SECONDS = 0.1  # how soon a thread that waits for its turn sees that the turn will not come


class Placed(Protocol):
    """The record of finished files: :class:`~drbackup_agent.sources.files.restore_journal.RestoreJournal`."""

    def done(self, path: bytes, stat: os.stat_result) -> None:
        """The file is kept as finished. May be called from any thread."""
        ...


class FileOnItsWay:
    """One file that is being restored, until it gets its name."""

    __slots__ = ("_direct", "_hasher", "_segments", "entry", "handle", "parts", "slot", "turn", "written")

    def __init__(self, entry: Entry, slot: Slot) -> None:
        """Raises :class:`RestoreMismatch` when content and holes do not make the size."""
        self.entry = entry
        self.slot = slot
        self.handle = self._direct = -1
        # The part to digest next, the parts written, and how many there are (0 until known): guarded by Contents.
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
        """The next part in order is in the digest."""
        if self._hasher is None:
            self._hasher = blake3()
        for start, end in part.spans:
            self._hasher.update(memory[start:end])

    def require_digest(self) -> None:
        """The whole content is what was read from the source. Raises :class:`RestoreMismatch` otherwise."""
        entry = self.entry
        if entry.digest and (self._hasher is None or self._hasher.digest() != entry.digest):
            raise RestoreMismatch(
                say("{path}: the restored content has another digest than the copied one", path=one_line(entry.path)),
                where=one_line(entry.path),
            )

    def write(self, part: Part[FileOnItsWay], memory: memoryview) -> None:
        """A part is in the file at its place, around the holes. Raises as :meth:`Slot.error` says."""
        at = part.offset
        try:
            for start, end in part.spans:
                self._write(memory[start:end], start, at)
                at += end - start
        except OSError as bad:
            raise self.slot.error(bad) from bad

    def _write(self, data: memoryview, memory_at: int, at: int) -> None:
        """Writes data at ``at`` of the content. ``memory_at``: its offset in the memory that was passed."""
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
        """Writes data at ``at`` of the file, past the page cache where its memory and the file are aligned alike."""
        if self._direct >= 0 and (memory_at - at) % PAGE == 0:
            head = -at % PAGE
            body = (len(data) - head) // PAGE * PAGE
            if body >= _DIRECT and _write_direct(self._direct, data[head : head + body], at + head):
                _write_all(self.handle, data[:head], at)
                data, at = data[head + body :], at + head + body
        _write_all(self.handle, data, at)

    def finish(self, watch: Watch, placed: Placed) -> None:
        """The file has its length, its facts and its name. Only when all parts are written and the digest is right."""
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
        """The file is there, empty, under its temporary name."""
        self.handle = self.slot.create(first_mode(self.entry))
        if self.entry.size >= _DIRECT:
            self._direct = self.slot.open_direct()

    def give_up(self) -> None:
        """Nothing of an unfinished file is left. Only when no thread works on it any more."""
        if self.handle >= 0:
            self._close()
            self.slot.forget()

    def _close(self) -> None:
        for handle in (self.handle, self._direct):
            if handle >= 0:
                os.close(handle)
        self.handle = self._direct = -1


class Contents:
    """The files of one restore, written part by part from several threads."""

    def __init__(self, watch: Watch, placed: Placed) -> None:
        self._watch = watch
        self._placed = placed
        self._turn_over = threading.Condition()  # guards the turns and counts of files, and the set
        self._large: set[FileOnItsWay] = set()
        self.failed: Callable[[], bool] = lambda: False  # whether another thread of the restore has failed

    def take(self, part: Part[FileOnItsWay], memory: memoryview) -> None:
        """One part of one file is written. Called from several threads at once, which begin a file's parts in order.

        Raises :class:`RestoreMismatch` for a wrong digest, :class:`Interrupted`, and the target's errors.
        """
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
        """Returns when all parts before this one are digested. Raises :class:`Interrupted` when that can't happen."""
        with self._turn_over:
            while file.turn != number:
                if self.failed():
                    raise Interrupted("another part of the file failed")
                self._turn_over.wait(_LOOK_SECONDS)

    def give_up(self) -> None:
        """Unfinished files are removed. Only when no thread takes parts any more."""
        for file in self._large:
            file.give_up()


def _write_all(handle: int, data: memoryview, offset: int) -> None:
    while data:
        done = os.pwrite(handle, data, offset)
        data, offset = data[done:], offset + done


def _write_direct(handle: int, data: memoryview, offset: int) -> bool:
    """Whether all was written. If not, the caller writes it through the page cache, or gets the reason there."""
    try:
        return os.pwrite(handle, data, offset) == len(data)
    except OSError:
        return False


def segments(entry: Entry) -> Iterator[tuple[int, int]]:
    """The (offset, length) pairs of the data between the holes, in bytes.

    Raises :class:`RestoreMismatch` for holes that overlap or reach past the end.
    """
    at = 0
    for offset, length in (*entry.holes, (entry.size, 0)):
        if offset < at or length < 0 or offset + length > entry.size:
            raise RestoreMismatch(say("{path}: its map of holes makes no sense", path=one_line(entry.path)))
        if offset > at:
            yield at, offset - at
        at = offset + length
