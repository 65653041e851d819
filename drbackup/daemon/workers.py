"""The daemon's hands: a bounded number of runs at once, at most one per agent.

A run's errors are its own: they are in the catalog when it ends, and the daemon goes on. A fault in drbackup itself is
logged with its trace and marked in the catalog, too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
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
    """One run under way."""

    run: Run
    agent: str
    future: Future[None]
    stop: threading.Event = field(default_factory=threading.Event)


class Workers:
    """Starts due runs and waits for them. Each run has a thread of its own."""

    def __init__(self, installation: Installation, count: int, now: Clock, per_agent: int = 1) -> None:
        self._installation = installation
        self._count = count
        self._per_agent = per_agent
        self._now = now
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="run")
        self._tasks: dict[str, _Task] = {}
        self._mutex = threading.RLock()  # guards _tasks: the tick starts, the service's own thread asks and stops
        self._log = structlog.get_logger()
        self.failed = 0  # runs that ended badly since the start

    def start_due(self, ready: list[Run]) -> list[str]:
        """Start what there is room for, the longest due first; their ids. What is left stays due in the catalog."""
        with self._mutex:
            return self._start_due(ready)

    def _start_due(self, ready: list[Run]) -> list[str]:
        self._reap()
        started: list[str] = []
        for run in ready:
            if len(self._tasks) >= self._count:
                break
            agent = self._agent_of(run)
            busy = sum(1 for task in self._tasks.values() if task.agent == agent)
            if run.id in self._tasks or busy >= self._per_agent:
                continue
            stop = threading.Event()
            future = self._pool.submit(self._work, run, stop)
            self._tasks[run.id] = _Task(run, agent, future, stop)
            started.append(run.id)
        return started

    @property
    def active(self) -> int:
        """Runs under way."""
        self._reap()
        return len(self._tasks)

    def wait(self, seconds: float) -> None:
        """Until one run ends, or that long."""
        with self._mutex:
            futures = [task.future for task in self._tasks.values()]
        wait(futures, timeout=seconds, return_when="FIRST_COMPLETED")
        self._reap()

    def stop(self) -> None:
        """Cancel every run cleanly and wait until each is marked in the catalog."""
        with self._mutex:
            for task in self._tasks.values():
                task.stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._reap()

    def _reap(self) -> None:
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

    def _work(self, run: Run, stop: threading.Event) -> None:
        log = self._log.bind(run=run.id, kind=str(run.kind), system=run.system, source=run.source)
        log.info("run-started", due=run.due_at.isoformat())
        works = {RunKind.DRILL: self._drill, RunKind.SCRUB: self._scrub}
        try:
            outcome = works.get(run.kind, self._backup)(run, stop)
        except RunActive as busy:
            log.debug("run-waits", reason=busy.message)  # still due: the next look tries again
        except DrbackupError as failure:
            self.failed += 1
            log.error("run-failed", code=failure.code, error=failure.message, host=failure.host, hint=failure.hint)
        else:
            log.info("run-committed", outcome=outcome)

    def _backup(self, run: Run, stop: threading.Event) -> str:
        options = BackupOptions(run=run.id, stop=stop)
        return run_backup(self._installation, run.system, run.source, options, now=self._now).short

    def _drill(self, run: Run, stop: threading.Event) -> str:
        def drill(held: LeasedRun) -> Completed[str]:
            options = DrillOptions(due=run.due_at, on_progress=held.hear, stop=held.stop)
            outcome = run_drill(self._installation, run.system, options, now=self._now)
            if not outcome.verdict.proves:
                reasons = "; ".join(f"{each.rule} {each.subject} {each.seen}".strip() for each in outcome.reasons)
                raise DrillFailed(
                    say("{system}: {verdict}: {reasons}", system=run.system, verdict=outcome.verdict, reasons=reasons),
                    where=outcome.id,
                )
            return Completed(str(outcome), detail=outcome.id)

        return self._leased(run, stop, drill)

    def _scrub(self, run: Run, stop: threading.Event) -> str:
        """A night's share of a store. Damage fails the run, so that it is never silent."""

        def read(held: LeasedRun) -> Completed[str]:
            entry = self._installation.inventory.stores[run.source].scrub
            request = ScrubRequest(within=entry.within, rate=entry.rate, stop=held.stop)
            report = scrub(self._installation, run.source, request, now=self._now)
            if not report.good:
                named = few(
                    [say(damage.why) for damage in report.damages], command=f"drbackup vault repair {run.source}"
                )
                raise ObjectCorrupt(
                    say(
                        "{n} objects are damaged or missing in store {source}: {named}",
                        n=len(report.damages),
                        source=run.source,
                        named=named,
                    ),
                    where=report.damages[0].name,
                    hint=say("drbackup vault repair {source}", source=run.source),
                )
            text = f"{report.packs} packs, {report.bytes} bytes read back"
            return Completed(text, detail=text)

        return self._leased(run, stop, read)

    def _leased(self, run: Run, stop: threading.Event, work: Callable[[LeasedRun], Completed[str]]) -> str:
        """What the log says of a run that came to its end."""
        request = RunRequest(run.kind, run.system, run.source, run=run.id)
        return leased(self._installation.catalog.runs, request, work, now=self._now, stop=stop)

    def _agent_of(self, run: Run) -> str:
        """Who must not be given two runs at once: an agent, or a store that is read back."""
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
