"""Progress on stderr: bars on a terminal, else one line at the end of each step, nothing with ``--json``.

Progress never writes to stdout and never decides anything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol, TypeVar

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from drbackup.cli.context import CliContext
from drbackup.reports.figures import size, span

_T = TypeVar("_T")


def _quiet(context: CliContext) -> bool:
    return context.json or not context.err.is_terminal


class Counting(Protocol):
    """A function that shows how far a long step has come: things done, things in all, bytes so far."""

    def __call__(self, done: int, total: int, count: int = 0, /) -> None: ...


@contextmanager
def counting(context: CliContext, what: str) -> Iterator[Counting]:
    """A bar for one step, named ``what``, that lasts as long as the block; nothing is shown without a terminal."""
    if _quiet(context):
        yield lambda done, total, count=0: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[bytes]}"))
    with Progress(*columns, TimeElapsedColumn(), console=context.err, transient=True) as bars:
        task = bars.add_task(what, total=None, bytes="")

        def watch(done: int, total: int, count: int = 0) -> None:
            bars.update(task, completed=done, total=total, bytes=size(count) if count else "")

        yield watch


class Bars:
    """One bar for each of several things that run at the same time. Its methods may be called from any thread."""

    def __init__(self, context: CliContext) -> None:
        self._context = context
        self._quiet = _quiet(context)
        self._tasks: dict[str, TaskID] = {}
        self._begun: dict[str, datetime] = {}
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=context.err,
            transient=True,
        )

    def __enter__(self) -> Bars:
        if not self._quiet:
            self._bars.start()
        return self

    def __exit__(self, *_exit: object) -> None:
        if not self._quiet:
            self._bars.stop()

    def update(self, what: str, phase: str, done: int, total: int, stored: int) -> None:
        """The bar of ``what`` shows bytes ``done`` of ``total`` (0: not known) and bytes ``stored`` (0: left out)."""
        if self._quiet:
            return
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=None, note="")
        note = f"{phase} {size(done)}" + (f" / {size(total)}" if total else "")
        if stored:
            note += f" → {size(stored)}"
        self._bars.update(self._tasks[what], completed=done, total=total or None, note=note)

    def begin(self, what: str) -> None:
        """The bar of ``what`` is there, and its time runs from now."""
        self._begun[what] = self._context.now()
        self.update(what, "…", 0, 0, 0)

    def note(self, what: str, text: str, *, warning: bool) -> None:
        """A line that a person should see now. Without a terminal only warnings are shown."""
        if self._context.json or (self._quiet and not warning):
            return
        console = self._context.err if self._quiet else self._bars.console
        console.print(Text("  ! " if warning else "    ", style="yellow") + Text(f"{what}: {text}"), soft_wrap=True)

    def end(self, what: str, result: str, *, good: bool) -> None:
        """A line with ``result`` and the time that ``what`` took, which stays on the screen; its bar is gone."""
        if what in self._tasks:
            self._bars.remove_task(self._tasks.pop(what))
        took = span(self._context.now() - self._begun[what]) if what in self._begun else ""
        if not self._context.json:
            console = self._context.err if self._quiet else self._bars.console
            line = Text("✓ " if good else "✗ ", style="bold green" if good else "bold red")
            line.append(what, style="bold").append(f"  {result}", style="none").append(f"  {took}", style="dim")
            console.print(line, soft_wrap=True)


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that is set when an exception leaves the block; the exception goes on.

    The calling thread has left its work already by then. The event tells other threads to end their sessions cleanly.
    """
    stop = threading.Event()
    try:
        yield stop
    except BaseException:
        stop.set()
        raise


def side_by_side(work: Sequence[Callable[[threading.Event], _T]], at_once: int) -> list[_T]:
    """The results of all pieces of work, in their order; at most ``at_once`` run at the same time.

    Each piece gets an event that is set when an interrupt comes. Work that has begun then ends cleanly before the
    interrupt is raised again, and the rest is not begun. The first error of a piece is raised when all have ended.
    """
    with stopping() as stop, ThreadPoolExecutor(at_once) as pool:
        tasks = [pool.submit(each, stop) for each in work]
        try:
            wait(tasks)
        except BaseException:
            stop.set()
            for task in tasks:
                task.cancel()
            raise
        return [task.result() for task in tasks]
