"""The one way a run is executed: claimed, held by a lease while it works, and ended by a row that says what it was.

Whatever runs, the same cause has the same end:

* It comes to its end: ``committed``. With a shortfall the row keeps that error, and it is raised.
* It fails: ``failed`` with its own error, which is raised.
* A person interrupts it, or a stopping service: ``failed`` as ``Interrupted``.
* A fault in drbackup itself: ``failed``, naming the fault, which goes on its way.
* The lease was lost to another run: that one has marked it already, and only hears that we stopped (``left``).
* The lease could not be renewed until it ran out: ``failed`` with the reason, as long as nobody took the run over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from drbackup.controller.catalog.runs import Claim, RunKind, Runs, RunState
from drbackup.controller.runs.lease import Lease, RunStop, lease_request
from drbackup.errors import DrbackupError, Interrupted, RunLost, say
from drbackup.wire.messages import Progress

Clock = Callable[[], datetime]
_T = TypeVar("_T")


class RunRequest(msgspec.Struct, frozen=True):
    """What is to be run."""

    kind: RunKind
    system: str
    source: str
    due: datetime | None = None  # when a new run should have begun; None: now
    run: str = ""  # a due row of the catalog to claim; empty: a new one


class Completed(msgspec.Struct, Generic[_T], frozen=True):
    """What a run came to, and what its final row says. None: the column stays as the run's progress left it."""

    value: _T
    detail: str = ""
    point: str | None = None
    content_bytes: int | None = None
    stored_bytes: int | None = None
    entries: int | None = None
    shortfall: DrbackupError | None = None  # of a run that is committed all the same

    def columns(self) -> dict[str, Any]:
        """The catalog's columns that are known."""
        names = ("point", "content_bytes", "stored_bytes", "entries")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class LeasedRun(msgspec.Struct, frozen=True):
    """One run under way, as its work sees it. Its methods may be called from any thread."""

    claim: Claim
    stop: threading.Event  # set: the work must end, because its lease is lost or its caller says so
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

    def require(self) -> None:
        """Raises what ended the lease, if it ended."""
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

    Raises :class:`~drbackup.errors.RunActive` while another run of the source is alive,
    :class:`~drbackup.errors.UsageError` when the named run is not due, :class:`~drbackup.errors.RunLost`, the
    shortfall, and otherwise what ``work`` raised.
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
        # The run is not ours any more: whoever took it over has marked it, and must know that we stopped.
        runs.leave(claim.run, now=now())
        raise
    if completed.shortfall is not None:
        raise completed.shortfall
    return completed.value


def _worked(run: LeasedRun, work: Callable[[LeasedRun], Completed[_T]], runs: Runs, now: Clock) -> Completed[_T]:
    """What ``work`` completed with, its final row written; whatever it raises is in the row before it goes on."""
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
            runs.leave(run.id, now=now())  # the crash is what the caller must hear of
        raise
    return completed


def _cause(run: LeasedRun, failure: DrbackupError) -> DrbackupError:
    """Why the run failed: work that was stopped because the lease is gone says "interrupted". Raises
    :class:`RunLost`."""
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
