"""Whatever kind of run it is: the same cause has the same end, in the catalog and for the caller."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drbackup.controller.catalog.runs import LeaseRequest, Run, RunKind, RunState
from drbackup.controller.home.installation import Installation
from drbackup.controller.runs import lease, leased
from drbackup.controller.runs.lease import RunStop
from drbackup.daemon.workers import Workers
from drbackup.errors import Interrupted, RunLost, StoreFull
from drbackup.model.point import Point
from drbackup.stores.base import Store
from drbackup.wire.specs import FolderTarget
from tests.support.cities.small_city import AGENT, SOURCE, SYSTEM, SmallCity
from tests.support.runs import restore_point, run_backup, wall

STORE = "main"
DRILL = f"drill: {{every: week, on: {AGENT}, checks: [{{source: {SOURCE}, files: match}}]}}\n"
KINDS = (RunKind.BACKUP, RunKind.RESTORE, RunKind.DRILL, RunKind.SCRUB)
WHAT = dict.fromkeys(KINDS, (SYSTEM, SOURCE)) | {RunKind.DRILL: (SYSTEM, ""), RunKind.SCRUB: ("vault", STORE)}


class TroubledInstallation(Installation):
    """The real one; ``trouble`` comes once, when the run first asks for a store."""

    trouble: Callable[[], None] | None = None

    def store(self, name: str) -> Store:
        trouble, self.trouble = self.trouble, None
        if trouble is not None:
            trouble()
        return super().store(name)


class Runner:
    """Starts a run of any kind the way it is started in production, and keeps what it raised."""

    def __init__(self, installation: TroubledInstallation, point: Point, out: Path) -> None:
        self.installation = installation
        self._point, self._out = point, out
        self._stop = threading.Event()
        self._hands: Workers | None = None
        self.stops: list[RunStop] = []  # of every run that was begun

    def run(self, kind: RunKind) -> BaseException | None:
        try:
            match kind:
                case RunKind.BACKUP:
                    run_backup(self.installation, SYSTEM, SOURCE, stop=self._stop)
                case RunKind.RESTORE:
                    target = FolderTarget(str(self._out))
                    restore_point(self.installation, self._point, target=target, stop=self._stop)
                case _:
                    self._by_the_daemon(kind)
        except BaseException as raised:  # noqa: BLE001 — what it is, is the question
            return raised
        return None

    def end(self) -> None:
        """A service that stops, or a person who does; returns when the run under way has heard it."""
        self._stop.set()
        if self._hands is not None:
            threading.Thread(target=self._hands.stop).start()
        self.wait_until_heard()

    def wait_until_heard(self) -> None:
        ended = threading.Event()
        while not self.stops[-1].is_set():
            ended.wait(0.01)

    def _by_the_daemon(self, kind: RunKind) -> None:
        runs, now = self.installation.catalog.runs, wall()
        due = runs.get(runs.add(kind, *WHAT[kind], due=now, now=now))
        self._hands = Workers(self.installation, 1, wall)
        assert self._hands.start_due([due]) == [due.id]
        while self._hands.active:
            self._hands.wait(30)
        self._hands.stop()


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    city = SmallCity(tmp_path, module="drbackup_agent", sandbox=str(tmp_path / "sandbox"), extra=DRILL).build()
    with TroubledInstallation.open(city.home, city.policies) as installation:
        made = Runner(installation, run_backup(installation, SYSTEM, SOURCE), tmp_path / "out")

        class Recorded(RunStop):
            def __init__(self, callers: threading.Event | None) -> None:
                super().__init__(callers)
                made.stops.append(self)

        monkeypatch.setattr(leased, "RunStop", Recorded)
        monkeypatch.setattr(lease, "BEAT_SECONDS", 0.01)
        yield made


def row(runner: Runner, kind: RunKind) -> Run:
    """The run that was begun last by this process."""
    ours = [run for run in runner.installation.catalog.runs.list(kind=kind) if "other-host" not in run.holder]
    return max(ours, key=lambda run: run.created_at)


def steps(runner: Runner, run: Run) -> list[str]:
    return [step.step for step in runner.installation.catalog.runs.steps(run.id)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_nothing_befalls_is_committed(runner: Runner, kind: RunKind) -> None:
    assert runner.run(kind) is None
    run = row(runner, kind)
    assert (run.state, run.error_code) == (RunState.COMMITTED, "")
    assert steps(runner, run)[-1] == "committed"


@pytest.mark.parametrize("kind", KINDS)
def test_a_crash_is_named_in_the_row_and_goes_on_its_way(runner: Runner, kind: RunKind) -> None:
    def crash() -> None:
        raise ValueError("a bug")

    runner.installation.trouble = crash
    raised = runner.run(kind)
    assert isinstance(raised, ValueError) or kind in {RunKind.DRILL, RunKind.SCRUB}  # whose caller is a thread
    run = row(runner, kind)
    assert (run.state, run.error_code) == (RunState.FAILED, "DrbackupError")
    assert run.error_message == "a fault in drbackup itself: ValueError: a bug"


@pytest.mark.parametrize("kind", KINDS)
def test_a_person_who_interrupts_ends_the_run_as_interrupted(runner: Runner, kind: RunKind) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    runner.installation.trouble = interrupt
    raised = runner.run(kind)
    assert isinstance(raised, KeyboardInterrupt) or kind in {RunKind.DRILL, RunKind.SCRUB}
    run = row(runner, kind)
    assert (run.state, run.error_code) == (RunState.FAILED, "Interrupted")
    assert run.error_message == "a person interrupted the run"


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_stopped_ends_as_interrupted(runner: Runner, kind: RunKind) -> None:
    runner.installation.trouble = runner.end
    raised = runner.run(kind)
    assert isinstance(raised, Interrupted) or kind in {RunKind.DRILL, RunKind.SCRUB}
    run = row(runner, kind)
    assert (run.state, run.error_code) == (RunState.FAILED, "Interrupted")


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_fails_keeps_its_own_error(runner: Runner, kind: RunKind) -> None:
    def fail() -> None:
        raise StoreFull("no room")

    runner.installation.trouble = fail
    runner.run(kind)
    run = row(runner, kind)
    # A drill judges a store that fails: its error says what the drill found.
    assert (run.state, run.error_code) == (RunState.FAILED, "DrillFailed" if kind == RunKind.DRILL else "StoreFull")
    assert "no room" in run.error_message


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_taken_over_is_left_to_who_took_it(runner: Runner, kind: RunKind) -> None:
    runs = runner.installation.catalog.runs

    def lose() -> None:
        later = datetime.now(UTC) + timedelta(minutes=10)
        other = LeaseRequest("other-host:1:2:3:4", later, later + timedelta(seconds=90))
        runs.start(kind, *WHAT[kind], lease=other)
        runner.wait_until_heard()

    runner.installation.trouble = lose
    raised = runner.run(kind)
    assert isinstance(raised, RunLost) or kind in {RunKind.DRILL, RunKind.SCRUB}
    run = row(runner, kind)
    assert (run.state, run.error_code) == (RunState.FAILED, "ControllerDied")
    assert steps(runner, run)[-1] == "left"
    (theirs,) = [each for each in runs.list(kind=kind) if "other-host" in each.holder]
    assert theirs.active
