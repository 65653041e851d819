"""The daemon's runs under way: a bounded number at once, and of these a bounded number on one agent or store.

An error ends only its own run: it is in the catalog when the run ends, and the daemon goes on. A fault in drbackup
itself is logged with its trace, and marked in the catalog too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime

import structlog

from drbackup.controller.backup.run import BackupOptions, run_backup
from drbackup.controller.catalog.runs import Run, RunKind
from drbackup.controller.copies.scrub import ScrubRequest, scrub
from drbackup.controller.drills.run import DrillOptions, run_drill
from drbackup.controller.home.installation import Installation
from drbackup.controller.runs.leased import Completed, LeasedRun, RunRequest, leased
from drbackup.errors import DrbackupError, DrillFailed, ObjectCorrupt, RunActive, UsageError, say
from drbackup.reports.shortened import few

Clock = Callable[[], datetime]


@dataclass(slots=True)
class _Task:
    """One run under way, or ended and not yet forgotten."""

    run: Run
    place: str  # where it works, see Workers._place_of
    future: Future[None]
    stop: threading.Event  # set: the run must end


class Workers:
    """The runs under way, each in a thread of its own. Thread-safe."""

    def __init__(self, installation: Installation, count: int, now: Clock, per_agent: int = 1) -> None:
        self._installation = installation
        self._count = count
        self._per_agent = per_agent
        self._now = now
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="run")
        self._tasks: dict[str, _Task] = {}  # by the run's id
        self._mutex = threading.RLock()  # guards _tasks: the tick's thread starts runs, the service's waits and stops
        self._log = structlog.get_logger()
        self.failed = 0  # runs that ended badly since the start

    @property
    def active(self) -> int:
        """The number of runs under way."""
        self._forget_ended()
        return len(self._tasks)

    def start_due(self, ready: list[Run]) -> list[str]:
        """The ids of the runs that were started: in the order of ``ready``, as many as there is room for.

        The other runs stay due in the catalog.
        """
        started: list[str] = []
        with self._mutex:
            self._forget_ended()
            for run in ready:
                if len(self._tasks) >= self._count:
                    break
                place = self._place_of(run)
                if run.id not in self._tasks and self._runs_at(place) < self._per_agent:
                    self._start(run, place)
                    started.append(run.id)
        return started

    def wait(self, seconds: float) -> None:
        """A pause until one run ends, at most ``seconds`` long."""
        with self._mutex:
            futures = [task.future for task in self._tasks.values()]
        wait(futures, timeout=seconds, return_when="FIRST_COMPLETED")
        self._forget_ended()

    def stop(self) -> None:
        """The runs under way are cancelled cleanly, and marked so in the catalog when this returns."""
        with self._mutex:
            for task in self._tasks.values():
                task.stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._forget_ended()

    def _place_of(self, run: Run) -> str:
        """What must not be given too many runs at once: an agent by its name, or a store that is read back."""
        if run.kind == RunKind.SCRUB:
            return f"store {run.source}"
        try:
            policy = self._installation.policy(run.system)
        except UsageError:
            return ""  # the run itself will fail with that error, in the catalog
        if run.kind == RunKind.DRILL:
            return policy.drill.on if policy.drill else ""
        source = policy.source(run.source)
        return source.agent if source else ""

    def _runs_at(self, place: str) -> int:
        return sum(1 for task in self._tasks.values() if task.place == place)

    def _start(self, run: Run, place: str) -> None:
        stop = threading.Event()
        future = self._pool.submit(self._execute, run, stop)
        self._tasks[run.id] = _Task(run, place, future, stop)

    def _execute(self, run: Run, stop: threading.Event) -> None:
        """One run from begin to end, in its own thread. Raises only a fault in drbackup itself."""
        log = self._log.bind(run=run.id, kind=str(run.kind), system=run.system, source=run.source)
        log.info("run-started", due=run.due_at.isoformat())
        try:
            outcome = _Execution(self._installation, run, stop, self._now).outcome()
        except RunActive as busy:
            log.debug("run-waits", reason=busy.message)  # still due: the next tick tries again
        except DrbackupError as failure:
            self.failed += 1
            log.error("run-failed", code=failure.code, error=failure.message, host=failure.host, hint=failure.hint)
        else:
            log.info("run-committed", outcome=outcome)

    def _forget_ended(self) -> None:
        """Removes the runs that ended, and logs the faults that ended them."""
        with self._mutex:
            ended = [task for task in self._tasks.values() if task.future.done()]
            for task in ended:
                del self._tasks[task.run.id]
        for task in ended:
            fault = None if task.future.cancelled() else task.future.exception()
            if fault is not None:
                self.failed += 1
                run = task.run
                self._log.error("fault", run=run.id, system=run.system, source=run.source, exc_info=fault)


class _Execution:
    """What one run does, by its kind."""

    def __init__(self, installation: Installation, run: Run, stop: threading.Event, now: Clock) -> None:
        self._installation = installation
        self._run = run
        self._stop = stop
        self._now = now

    def outcome(self) -> str:
        """The outcome in words, for the log, when the run has come to its end. Raises what made it fail."""
        match self._run.kind:
            case RunKind.DRILL:
                return self._leased(self._drill)
            case RunKind.SCRUB:
                return self._leased(self._scrub)
            case _:
                return self._backup()

    def _backup(self) -> str:
        """The point's short id. A backup claims its run and takes the lease by itself."""
        options = BackupOptions(run=self._run.id, stop=self._stop)
        return run_backup(self._installation, self._run.system, self._run.source, options, now=self._now).short

    def _leased(self, work: Callable[[LeasedRun], Completed[str]]) -> str:
        """The value of ``work``, which is done while this run is claimed and its lease renewed."""
        request = RunRequest(self._run.kind, self._run.system, self._run.source, run=self._run.id)
        return leased(self._installation.catalog.runs, request, work, now=self._now, stop=self._stop)

    def _drill(self, under_way: LeasedRun) -> Completed[str]:
        """A drill's verdict. One that proves nothing fails the run, so that it is never silent."""
        system = self._run.system
        options = DrillOptions(due=self._run.due_at, on_progress=under_way.hear, stop=under_way.stop)
        outcome = run_drill(self._installation, system, options, now=self._now)
        if not outcome.verdict.proves:
            reasons = "; ".join(f"{each.rule} {each.subject} {each.seen}".strip() for each in outcome.reasons)
            raise DrillFailed(
                say("{system}: {verdict}: {reasons}", system=system, verdict=outcome.verdict, reasons=reasons),
                where=outcome.id,
            )
        return Completed(str(outcome), detail=outcome.id)

    def _scrub(self, under_way: LeasedRun) -> Completed[str]:
        """The counts of one night's scrub of a store. Damage fails the run, so that it is never silent."""
        store = self._run.source
        settings = self._installation.inventory.stores[store].scrub
        request = ScrubRequest(within=settings.within, rate=settings.rate, stop=under_way.stop)
        report = scrub(self._installation, store, request, now=self._now)
        if report.good:
            text = f"{report.packs} packs, {report.bytes} bytes read back"
            return Completed(text, detail=text)
        repair = f"drbackup vault repair {store}"
        raise ObjectCorrupt(
            say(
                "{n} objects are damaged or missing in store {source}: {named}",
                n=len(report.damages),
                source=store,
                named=few([say(damage.why) for damage in report.damages], command=repair),
            ),
            where=report.damages[0].name,
            hint=say("drbackup vault repair {source}", source=store),
        )
