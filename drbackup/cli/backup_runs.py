"""What ``drbackup backup`` does: it backs up several sources at the same time and shows how each of them went."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import msgspec
from rich.table import Table
from rich.text import Text

from drbackup.cli.context import CliContext
from drbackup.cli.places import chosen_sources
from drbackup.cli.policy_warnings import left_out
from drbackup.cli.progress import Bars, side_by_side
from drbackup.controller.backup.run import BackupOptions, run_backup
from drbackup.controller.runs.agent import Connector
from drbackup.errors import DoneInPart, DrbackupError
from drbackup.model.point import Point, SourceName
from drbackup.reports.failures import document_of, joined
from drbackup.reports.figures import size, span
from drbackup.reports.gettext import _, translated
from drbackup.reports.tables import plain_table, point_document, right
from drbackup.wire.messages import Note, Progress


class Outcome(msgspec.Struct, frozen=True):
    """How one source's backup went: a point, or an error, or both when a store lacks its copy."""

    place: str  # SYSTEM/SOURCE
    took: timedelta
    point: Point | None  # None: nothing was committed
    error: DrbackupError | None  # None: committed in every store of the policy


class BackupRequest(msgspec.Struct, frozen=True):
    """The command's options as given."""

    places: tuple[str, ...]  # each SYSTEM or SYSTEM/SOURCE
    everything: bool  # --all: every source of every system
    jobs: int  # sources at the same time
    accept_shrink: bool  # a much smaller copy is no error


def back_up(context: CliContext, request: BackupRequest, connect: Connector) -> None:
    """A backup of every chosen source, with all outcomes shown.

    Raises what :func:`~drbackup.reports.failures.joined` makes of the failures, like
    :class:`DoneInPart` when only some sources were backed up. With ``--all`` a broken policy counts as a failure.
    """
    sources = chosen_sources(context, request.places, everything=request.everything)
    names = [SourceName(policy.system, source) for policy, source in sources]
    outcomes = _run_all(context, names, request, connect)
    context.show({"backups": [_document(outcome) for outcome in outcomes]}, _table(outcomes, wide=context.view().wide))
    failures = [outcome.error for outcome in outcomes if outcome.error is not None]
    if request.everything:
        failures += left_out(context.installation().policies)
    if failures:
        good = [outcome.place for outcome in outcomes if outcome.error is None]
        raise joined(failures, good, partly=any(outcome.point for outcome in outcomes))


def _run_all(context: CliContext, names: list[SourceName], request: BackupRequest, connect: Connector) -> list[Outcome]:
    """The outcomes of all sources, in the given order. An interrupt is raised when every session has ended cleanly."""
    with Bars(context) as bars:

        def one(name: SourceName) -> Callable[[threading.Event], Outcome]:
            return lambda stop: _run_one(
                context, name, bars, BackupOptions(stop=stop, accept_shrink=request.accept_shrink, connect=connect)
            )

        return side_by_side([one(name) for name in names], request.jobs)


def _run_one(context: CliContext, which: SourceName, bars: Bars, options: BackupOptions) -> Outcome:
    (system, source), name = which, str(which)
    begun = context.now()
    bars.begin(name)

    def progress(news: Progress) -> None:
        bars.update(name, news.phase, news.done, news.total, news.stored)

    def note(line: Note) -> None:
        bars.note(name, line.text, warning=line.level == "warning")

    point: Point | None = None
    error: DrbackupError | None = None
    try:
        heard = msgspec.structs.replace(options, on_progress=progress, on_note=note)
        point = run_backup(context.installation(), system, source, heard, now=context.now)
    except DoneInPart as partial:  # committed, but not everywhere: the point is good and is shown
        error = partial
        point = context.installation().catalog.points.last(system, source)
    except DrbackupError as failure:  # one source's failure must not end the others' backups; raised at the end
        error = failure
    took = context.now() - begun
    said = (
        translated(error.said)
        if error
        else f"{size(point.totals.bytes)} → {size(point.totals.stored_bytes)}"
        if point
        else ""
    )
    bars.end(name, said, good=error is None)
    return Outcome(name, took, point, error)


def _table(outcomes: list[Outcome], *, wide: bool) -> Table:
    titles = ("", _("Source"), _("Point"), _("Size"), _("New"), _("Stored"), _("Rows"), _("Time"), _("Speed"))
    table = right(plain_table(*titles[: 9 if wide else 6]), *((3, 4, 5, 6, 7, 8) if wide else (3, 4, 5)))
    for each in outcomes:
        mark = Text("✓", style="bold green") if each.error is None else Text("✗", style="bold red")
        if each.point is None:
            table.add_row(mark, each.place, Text(each.error.code if each.error else "", style="red"))
            continue
        totals = each.point.totals
        figures = [size(totals.bytes), size(totals.new_bytes), size(totals.stored_bytes)]
        if wide:
            speed = size(int(totals.bytes / max(each.took.total_seconds(), 0.001)))
            figures += [str(totals.rows) if totals.rows > 0 else "", span(each.took), f"{speed}/s"]
        table.add_row(mark, each.place, Text(each.point.short, style="bold"), *figures)
    return table


def _document(outcome: Outcome) -> dict[str, object]:
    return {
        "place": outcome.place,
        "seconds": round(outcome.took.total_seconds(), 3),
        "point": point_document(outcome.point) if outcome.point else None,
        "error": document_of(outcome.error) if outcome.error else None,
    }
