"""The only way a run is executed: it is claimed, keeps its lease while it works, and ends with a final row.

For every kind of run, the same cause gives the same end:

* Its work completes: ``committed``. With a shortfall the row keeps that error, and it is raised.
* Its work fails: ``failed`` with its own error, which is raised.
* A person or a stopping service interrupts it: ``failed`` as ``Interrupted``.
* There is a fault in drbackup itself: ``failed``, naming the fault, which is raised.
* Another run took the lease over: that one has marked the row already. It is only noted that we stopped (``left``).
* The lease ran out because it couldn't be renewed: ``failed`` with the reason, unless another run took it over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from drbackup.controller.catalog.runs import Claim, RunKind, Runs, RunState
from drbackup.controller.runs.agent_requests import Listeners, no_news
from drbackup.controller.runs.lease import Lease, RunStop, lease_request
from drbackup.errors import DrbackupError, Interrupted, RunLost, say
from drbackup.wire.messages import Note, Progress

Clock = Callable[[], datetime]
_T = TypeVar("_T")


class RunRequest(msgspec.Struct, frozen=True):
    """The run that is wanted."""

    kind: RunKind
    system: str
    source: str  # of a scrub: the store
    due: datetime | None = None  # when a new run should have begun; None: now
    run: str = ""  # a due row of the catalog to claim; empty: a new one


class Completed(msgspec.Struct, Generic[_T], frozen=True):
    """The result of a run's work, and its final row. A column that is None keeps the value from the run's progress."""

    value: _T  # for the caller
    detail: str = ""  # one line of the row, for a person
    point: str | None = None  # its id
    content_bytes: int | None = None
    stored_bytes: int | None = None
    entries: int | None = None
    shortfall: DrbackupError | None = None  # what is lacking, although the run is committed

    def columns(self) -> dict[str, Any]:
        """The columns of the final row that are not None, by name."""
        names = ("point", "content_bytes", "stored_bytes", "entries")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class LeasedRun(msgspec.Struct, frozen=True):
    """One run under way, for its work. Thread-safe."""

    claim: Claim
    stop: threading.Event  # set: the work must end, because its lease is lost or its caller wants it to
    _lease: Lease
    _runs: Runs
    _now: Clock

    @property
    def id(self) -> str:
        return self.claim.run

    def step(self, state: RunState, **columns: Any) -> None:
        """The run's next state is durable when this returns. Raises :class:`~drbackup.errors.RunLost`."""
        self._runs.step(self.claim, state, now=self._now(), **columns)

    def hear(self, news: Progress) -> None:
        """The latest counters are written with the lease's next renewal. Never blocks."""
        self._lease.hear(news)

    def listeners(
        self, on_progress: Callable[[Progress], None] | None, on_note: Callable[[Note], None] | None
    ) -> Listeners:
        """The listeners of a session of this run: the lease hears of its progress first, then the caller does."""
        told = on_progress or no_news

        def progress(news: Progress) -> None:
            self.hear(news)
            told(news)

        return Listeners(progress=progress, note=on_note or no_news)

    def require(self) -> None:
        """A guarantee that the lease has not ended. Raises the error that ended it."""
        self._lease.require()


def leased(
    runs: Runs,
    request: RunRequest,
    work: Callable[[LeasedRun], Completed[_T]],
    *,
    now: Clock,
    stop: threading.Event | None = None,
) -> _T:
    """The value that ``work`` completed with, after the run's final row was written.

    Raises :class:`~drbackup.errors.RunActive` while another run of the source is under way, and
    :class:`~drbackup.errors.UsageError` when the named run is not due. Raises :class:`~drbackup.errors.RunLost`, the
    shortfall, and what ``work`` raises.
    """
    wanted = lease_request(now())
    if request.run:
        claim = runs.claim(request.run, wanted)
    else:
        claim = runs.start(request.kind, request.system, request.source, lease=wanted, due=request.due)
    stopping = RunStop(stop)
    try:
        with Lease(runs, claim, now, stopping) as lease:
            completed = _worked(LeasedRun(claim, stopping, lease, runs, now), work, runs, now)
    except RunLost:
        # The run is not ours any more. The one that took it over has marked it, and must know that we stopped.
        runs.leave(claim.run, now=now())
        raise
    if completed.shortfall is not None:
        raise completed.shortfall
    return completed.value


def _worked(run: LeasedRun, work: Callable[[LeasedRun], Completed[_T]], runs: Runs, now: Clock) -> Completed[_T]:
    """The result of ``work``, after its final row was written. An error is written to the row before it is raised."""
    try:
        completed = work(run)
        run.step(RunState.COMMITTED, detail=completed.detail, **completed.columns())
        if completed.shortfall is not None:
            runs.note_error(run.claim, completed.shortfall)
    except RunLost:
        raise
    except DrbackupError as failure:
        cause = _cause(run, failure)
        runs.fail(run.claim, cause, now=now())
        if cause is failure:
            raise
        raise cause from failure
    except BaseException as crash:
        try:
            runs.fail(run.claim, _fault(crash), now=now())
        except RunLost:
            runs.leave(run.id, now=now())  # the caller must see the crash, not this
        raise
    return completed


def _cause(run: LeasedRun, failure: DrbackupError) -> DrbackupError:
    """Why the run failed: the error that ended the lease, else ``failure``.

    Work that is stopped because of a lost lease raises only :class:`Interrupted`. Raises :class:`RunLost`.
    """
    try:
        run.require()
    except RunLost:
        raise
    except DrbackupError as gone:
        return gone
    return failure


def _fault(crash: BaseException) -> DrbackupError:
    if isinstance(crash, KeyboardInterrupt):
        return Interrupted("a person interrupted the run")
    return DrbackupError(say("a fault in drbackup itself: {kind}: {what}", kind=type(crash).__name__, what=str(crash)))
