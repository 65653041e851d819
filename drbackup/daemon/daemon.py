"""``drbackupd``: the service that starts what is due, every few seconds, until it is told to stop.

One process serves a home; a file lock ensures it, which the kernel releases when the process dies. What is due is kept
in the catalog; the timer is only a tick. SIGHUP reads the policies again; a bad file changes nothing and is named in
the log. SIGTERM and SIGINT end the running sessions cleanly, mark their runs and end the process. The systemd watchdog
is answered only while the ticks come.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import click
import structlog
from apscheduler.executors.pool import ThreadPoolExecutor as TickExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from rich.console import Console

from drbackup import __version__
from drbackup.controller.backup.adopt import reconcile_dead_runs
from drbackup.controller.catalog.runs import RunKind
from drbackup.controller.collect.renew_locks import renew_locks, renewal_is_due
from drbackup.controller.copies.catch_up import catch_up
from drbackup.controller.drills.run import close_abandoned
from drbackup.controller.home.installation import Installation
from drbackup.daemon.scheduler import Scheduler
from drbackup.daemon.sdnotify import Notifier
from drbackup.daemon.workers import Workers
from drbackup.errors import DrbackupError, PolicyError, ServiceRefused, say
from drbackup.reports.failures import document_of, explain
from drbackup.reports.gettext import speak_by_environment
from drbackup.reports.shortened import FEW
from drbackup.system import logs
from drbackup.system.file_lock import FileLock, read_note, try_file_lock
from drbackup.system.memory import keep_freed_memory

Clock = Callable[[], datetime]
TICK_SECONDS = 5.0
CATCH_UP_MINUTES = 15
_STORES_AT_ONCE = 2  # read back at the same time
DAEMON_LOCK_FILE = "drbackupd.lock"


class Daemon:
    """The running service. :meth:`run` returns after a signal, :meth:`once` when nothing is due any more."""

    def __init__(
        self, installation: Installation, workers: int, now: Clock, tick_seconds: float = TICK_SECONDS
    ) -> None:
        self._installation = installation
        self._now = now
        self._tick_seconds = tick_seconds
        self._scheduler = Scheduler(installation.catalog, now())
        self._workers = Workers(installation, workers, now)
        # Reading stores back takes hours at a limited rate: it must never take a backup's place.
        self._readers = Workers(installation, _STORES_AT_ONCE, now)
        self._ending = threading.Event()
        self._notifier = Notifier()
        self._log = structlog.get_logger()
        # Not an Event: a handler runs between any two steps of the thread that waits, perhaps while that one holds the
        # Event's mutex, and would wait for it for ever. This queue takes from a handler at any instant.
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._stop_wanted = False
        self._ticked = time.monotonic()

    def once(self) -> int:
        """The number of runs that failed, after everything that is due was run."""
        self._mark_dead()
        self._look_after()
        self.renew()
        self.catch_up()
        tried: set[str] = set()
        while self.tick(tried) or self._workers.active or self._readers.active:
            (self._workers if self._workers.active else self._readers).wait(1.0)
        self._workers.stop()
        self._readers.stop()
        return self._workers.failed + self._readers.failed

    def run(self) -> None:
        """The service itself, which ends after SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._signalled)
        self._mark_dead()
        # In its own thread: a store that is down must neither delay the start nor keep the watchdog waiting.
        looking = threading.Thread(target=self._look_after, name="look-after", daemon=True)
        timer = BackgroundScheduler(
            timezone=UTC,
            executors={"default": TickExecutor(1), "locks": TickExecutor(1), "copies": TickExecutor(1)},
            # A late tick is never dropped, and several late ones are one: what is due is in the catalog.
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        timer.add_job(self.tick, "interval", seconds=self._tick_seconds, next_run_time=datetime.now(UTC))
        timer.add_job(self.renew, "interval", hours=1, next_run_time=datetime.now(UTC), executor="locks")
        every = {"minutes": CATCH_UP_MINUTES, "next_run_time": datetime.now(UTC), "executor": "copies"}
        timer.add_job(self.catch_up, "interval", **every)
        timer.start()
        looking.start()
        self._notifier.ready(self._status())
        self._log.info("ready", version=__version__, home=str(self._installation.home))
        try:
            self._serve()
        finally:
            self._notifier.stopping()
            self._log.info("stopping", running=self._workers.active)
            self._stop_wanted = True
            self._ending.set()
            timer.shutdown(wait=True)
            self._workers.stop()
            self._readers.stop()
            looking.join(timeout=30)
            self._log.info("stopped")

    def tick(self, tried: set[str] | None = None) -> int:
        """The number of runs started, after everything that is due was written to the catalog.

        ``tried``: ids of runs not to start; those started are added. An error of the catalog is logged, and the next
        tick tries again.
        """
        started: list[str] = []
        try:
            ready = self._scheduler.look(self._installation.policies, self._now())
            fresh = [run for run in ready if not tried or run.id not in tried]
            started = self._workers.start_due([run for run in fresh if run.kind != RunKind.SCRUB])
            started += self._readers.start_due([run for run in fresh if run.kind == RunKind.SCRUB])
        except DrbackupError as trouble:
            self._log.error("tick-failed", code=trouble.code, error=trouble.message, hint=trouble.hint)
        if tried is not None:
            tried.update(started)
        self._ticked = time.monotonic()
        return len(started)

    def renew(self) -> None:
        """Once a day, the object locks of what points need are renewed. After an error the next hour tries again."""
        try:
            if not renewal_is_due(self._installation, self._now()):
                return
            for each in renew_locks(self._installation, self._now(), lambda: self._stop_wanted):
                log = self._log.error if each.missing else self._log.info
                lacks = {"missing": each.missing[:FEW], "missing_in_all": len(each.missing)}
                log("locks-renewed", store=each.store, packs=each.packs, records=each.records, **lacks)
        except DrbackupError as trouble:
            self._log.error("locks-not-renewed", code=trouble.code, error=trouble.message, hint=trouble.hint)

    def catch_up(self) -> None:
        """Every store is given the points that its policies promise and that it lacks, without waiting for a backup.

        What can't be copied now stays lacking in the catalog, and the next call tries again.
        """
        try:
            for result in catch_up(self._installation, now=self._now, stop=self._ending):
                if result.copied:
                    self._log.info("copied", store=result.store, points=len(result.copied))
                for point, error in result.behind.items():
                    self._log.warning("copy-lacking", store=result.store, point=point[:12], error=error.message)
                if result.away is not None:
                    self._log.warning("store-behind", store=result.store, error=result.away.message)
        except DrbackupError as unready:
            self._log.warning("not-caught-up", error=unready.message)

    def reload(self) -> bool:
        """Whether the policies could be read again. False when a file is bad; then the old ones stay in force."""
        self._notifier.reloading()
        try:
            policies = self._installation.reload_policies()
        except PolicyError as bad:
            for line in bad.message.splitlines():
                self._log.error("policies-refused", finding=line, kept="the policies that were loaded before")
            return False
        else:
            self._log.info("policies-loaded", systems=len(policies.policies), digest=policies.digest[:12])
            return True
        finally:
            self._notifier.ready(self._status())

    def _serve(self) -> None:
        beat = min(self._notifier.watchdog_seconds / 3 or 60.0, 60.0)
        while not self._stop_wanted:
            if signal.SIGHUP in self._heard(beat):
                self.reload()
            # When a tick does not return (the catalog's disk may be broken), systemd must restart us.
            if time.monotonic() - self._ticked < max(60.0, 6 * self._tick_seconds):
                self._notifier.watchdog()
                self._notifier.status(self._status())

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGHUP:
            self._stop_wanted = True
        self._signals.put(number)

    def _heard(self, seconds: float) -> set[int]:
        """The signals that came, after the first of them or after ``seconds``."""
        heard = set()
        with contextlib.suppress(queue.Empty):
            heard.add(self._signals.get(timeout=seconds))
            while True:
                heard.add(self._signals.get_nowait())
        return heard

    def _mark_dead(self) -> None:
        """The runs of a dead controller are marked failed, with their last step."""
        for run in self._installation.catalog.runs.mark_dead(now=self._now()):
            self._log.warning("run-abandoned", run=run.id, system=run.system, source=run.source, step=str(run.state))

    def _look_after(self) -> None:
        """Dead runs that had committed are reconciled, and dead drills closed.

        When a store does not answer, its runs stay unsettled in the catalog. The source's next run, or the next start,
        tries again.
        """
        for system, policy in self._installation.policies.policies.items():
            for source in policy.sources:
                try:
                    reconcile_dead_runs(self._installation, system, source.name, self._now)
                except DrbackupError as unready:
                    self._log.warning("not-settled", system=system, source=source.name, error=unready.message)
        try:
            for drill in close_abandoned(self._installation, now=self._now):
                self._log.warning("drill-abandoned", drill=drill.id, system=drill.system, outcome=str(drill))
        except DrbackupError as unready:
            self._log.warning("drills-not-closed", error=unready.message)

    def _status(self) -> str:
        count = len(self._installation.policies.policies)
        return f"{count} systems, {self._workers.active} runs under way"


def hold_home(home: Path) -> FileLock:
    """The file lock of ``home``, which one drbackupd at a time can have. Raises :class:`ServiceRefused`."""
    try:
        lock = try_file_lock(home / DAEMON_LOCK_FILE)
    except OSError as trouble:
        raise ServiceRefused(say("{home}: {why}", home=home, why=trouble), where=str(home)) from trouble
    if lock is None:
        holder = read_note(home / DAEMON_LOCK_FILE)[:32] or "unknown"
        raise ServiceRefused(
            say("a drbackupd is running for {home} (process {holder})", home=home, holder=holder), where=str(home)
        )
    lock.leave_note(f"{os.getpid()}\n")
    return lock


def serve(
    home: Path, policies_folder: Path, *, workers: int = 2, once: bool = False, tick: float = TICK_SECONDS
) -> int:
    """The exit code, after the service has ended. Raises :class:`DrbackupError` when it can't start."""
    keep_freed_memory()
    with Installation.open(home, policies_folder) as installation, hold_home(home):
        daemon = Daemon(installation, workers, lambda: datetime.now(UTC), tick)
        if once:
            return 1 if daemon.once() else 0
        daemon.run()
    return 0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    envvar="DRBACKUP_HOME",
    default=Path("/var/lib/drbackup"),
    show_default=True,
    help="The installation's state.",
)
@click.option(
    "--policies",
    type=click.Path(path_type=Path),
    envvar="DRBACKUP_POLICIES",
    default=Path("/etc/drbackup/policies"),
    show_default=True,
    help="The policy folder.",
)
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Runs at the same time.")
@click.option("--tick", type=click.FloatRange(0.1, 60), default=TICK_SECONDS, help="Seconds between two looks.")
@click.option("--once", is_flag=True, help="Do what is due now, wait for it and end: 1 when a run failed.")
@click.option("--json", "as_json", is_flag=True, help="With --once: say the result as one JSON document.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
@click.option("--log-format", type=click.Choice(logs.FORMS), default=None, help="Left out: journald under systemd.")
@click.version_option(__version__, prog_name="drbackupd")
def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    home: Path,
    policies: Path,
    workers: int,
    tick: float,
    once: bool,
    as_json: bool,
    log_level: str,
    log_format: str | None,
) -> None:
    """Run due backups and drills of all policies until told to stop."""
    form = log_format or ("journald" if "JOURNAL_STREAM" in os.environ else "console")
    speak_by_environment()
    logs.configure(log_level, form)
    try:
        code = serve(home, policies, workers=workers, once=once, tick=tick)
        if once and as_json:
            click.echo(json.dumps({"failed": bool(code)}))
    except DrbackupError as refused:
        _say_why(refused, form)
        if as_json:
            click.echo(json.dumps({"error": document_of(refused)}, ensure_ascii=False))
        code = refused.exit_code
    sys.exit(code)


def _say_why(refused: DrbackupError, form: str) -> None:
    """Why the service does not start: for a person on the console, or one log line for each finding."""
    if form == "console":
        console = Console(stderr=True, highlight=False)
        for line in explain(refused):
            console.print(line, soft_wrap=True)
        return
    log = structlog.get_logger()
    for finding in refused.message.splitlines():
        log.error("refused", code=refused.code, error=finding, hint=refused.hint)


def main() -> None:
    """The ``drbackupd`` program."""
    command()


if __name__ == "__main__":
    main()
