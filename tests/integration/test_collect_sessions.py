"""Collecting while agents work: whatever comes between a session's steps, what it commits can be restored."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from drbackup.controller.catalog.lifecycle import Lifecycle
from drbackup.controller.catalog.runs import Runs
from drbackup.controller.catalog.sessions import Sessions
from drbackup.errors import DoneInPart, DrbackupError, RunTooLong
from drbackup.model.collect import COLLECT_GRACE, SESSION_MOST, Act, Why
from tests.support.cities.collected_city import (
    AT_LAST,
    DAY,
    LATER,
    TwoPoints,
    clock,
    collect,
    objects,
    packs_of,
    write,
)
from tests.support.cities.small_city import AGENT, SOURCE, SYSTEM
from tests.support.doubles.faulty_store import Trouble, break_store, faulty, mend_store
from tests.support.runs import run_backup

OLD = b"old" * 1000 + b"a"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> TwoPoints:
    return TwoPoints.make(tmp_path_factory.mktemp("two"))


@pytest.fixture
def two(made: TwoPoints) -> TwoPoints:
    """The source holds again what it held at the old point, which no rule keeps."""
    write(made.put_back().city, b"old")
    return made


@pytest.fixture(params=["seen", "overlooked"])
def session(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the collector knows of open sessions. It must be safe without: a catalog may be a moment behind."""
    if request.param == "overlooked":
        monkeypatch.setattr(Sessions, "busy", lambda *_given, **_named: {})
        monkeypatch.setattr(Runs, "standing_still", lambda _self: {})
    return str(request.param)


def during(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, act: Callable[[], object]) -> None:
    """Do something once, just before a step of the run."""
    real = getattr(owner, name)
    pending = [act]

    def step(*given: object, **named: object) -> object:
        if pending:
            pending.pop()()
        return real(*given, **named)

    monkeypatch.setattr(owner, name, step)


def restorable(two: TwoPoints, point: str) -> bool:
    return all(two.city.read(point, store)[b"a"] == OLD for store in ("main", "other"))


def test_a_session_that_began_before_the_condemnation_commits_a_restorable_point(
    two: TwoPoints, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told where its chunks lie; then the only point that names those packs goes, and a collect judges them."""
    with two.city.open() as installation:
        before = packs_of(installation, two.old)
        condemned: list[int] = []

        def collected() -> None:
            condemned.append(len(collect(installation, LATER).plan.of(Act.CONDEMN)))

        during(monkeypatch, Lifecycle, "condemned", collected)  # the check before the commit
        point = run_backup(installation, SYSTEM, SOURCE, now=clock(LATER))
        assert bool(condemned[0]) == (session == "overlooked")
        shared = packs_of(installation, point) & before
        assert bool(shared) == (session == "seen")  # else it sent everything again
        for later in (AT_LAST, AT_LAST + COLLECT_GRACE):
            collect(installation, later)
            assert packs_of(installation, point) <= objects(installation, "main") & objects(installation, "other")
    assert restorable(two, point.id)


def test_what_is_condemned_between_the_check_and_the_commit_is_pardoned_by_the_record(
    two: TwoPoints, session: str
) -> None:
    with two.city.open(stores=faulty) as installation:
        trouble = Trouble(
            "put", kind="call", matching="v1/r/", action=lambda _name: collect(installation, LATER) and None
        )
        break_store(installation, "main", trouble)
        point = run_backup(installation, SYSTEM, SOURCE, now=clock(LATER))
        mend_store(installation, "main")
        first = collect(installation, AT_LAST)
        assert bool(first.plan.of(Act.PARDON)) == (session == "overlooked")
        collect(installation, AT_LAST + COLLECT_GRACE)
        assert packs_of(installation, point) <= objects(installation, "main") & objects(installation, "other")
    assert restorable(two, point.id)


def test_a_new_session_is_offered_nothing_that_is_condemned(two: TwoPoints) -> None:
    with two.city.open() as installation:
        before = packs_of(installation, two.old)
        collect(installation, LATER)
        point = run_backup(installation, SYSTEM, SOURCE, now=clock(LATER))
        assert not packs_of(installation, point) & before
        assert collect(installation, AT_LAST).erased
    assert restorable(two, point.id)


def test_a_run_older_than_a_day_commits_nothing(two: TwoPoints) -> None:
    with two.city.open() as installation:
        moments = iter([LATER])

        def now() -> datetime:
            return next(moments, LATER + SESSION_MOST + timedelta(seconds=1))

        before = {point.id for point in installation.catalog.points.list()}
        with pytest.raises(RunTooLong):
            run_backup(installation, SYSTEM, SOURCE, now=now)
        assert {point.id for point in installation.catalog.points.list()} == before
        point = run_backup(installation, SYSTEM, SOURCE, now=clock(LATER + 2 * SESSION_MOST))
        assert point.totals.stored_bytes < 20_000  # what was sent is not sent twice
    assert restorable(two, point.id)


def test_a_domain_is_left_alone_while_a_session_is_open_there(two: TwoPoints, monkeypatch: pytest.MonkeyPatch) -> None:
    with two.city.open() as installation:
        collect(installation, LATER)
        gone: list[int] = []
        during(monkeypatch, Lifecycle, "condemned", lambda: gone.append(collect(installation, AT_LAST).erased))
        run_backup(installation, SYSTEM, SOURCE, now=clock(AT_LAST))
        assert gone == [0]
        assert collect(installation, AT_LAST + SESSION_MOST).erased


def test_a_crashed_session_keeps_its_domain_for_a_day_and_no_longer(
    two: TwoPoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    with two.city.open() as installation:
        collect(installation, LATER)
        monkeypatch.setattr(Sessions, "close", lambda *_given, **_named: None)  # killed before it could
        write(two.city, b"")
        with pytest.raises(DrbackupError):
            run_backup(installation, SYSTEM, SOURCE, now=clock(AT_LAST), accept_shrink=False)
        assert not collect(installation, AT_LAST + SESSION_MOST).erased
        assert collect(installation, AT_LAST + SESSION_MOST + timedelta(hours=2)).erased


def test_a_second_copy_relies_on_nothing_that_is_condemned_there(two: TwoPoints) -> None:
    """The packs were condemned in the second store only; the run is then a partial one, and a collect sets it right."""
    with two.city.open() as installation:
        lifecycle = installation.catalog.lifecycle
        lifecycle.condemn([copy for copy in lifecycle.copies("other") if copy.kind == "p"], now=LATER)
        with pytest.raises(DoneInPart, match="condemned"):
            run_backup(installation, SYSTEM, SOURCE, now=clock(LATER))
        collect(installation, LATER)
        point = run_backup(installation, SYSTEM, SOURCE, now=clock(LATER + timedelta(hours=1)))
        assert point.copies == ("main", "other")
    assert restorable(two, point.id)


def test_a_pack_that_is_mostly_unused_gets_no_new_chunks_and_goes_with_its_last_point(two: TwoPoints) -> None:
    with two.city.open() as installation:
        (two.city.data / "a").write_bytes(b"x" * 100)  # of what was one pack, one small file is left
        (two.city.data / "big").write_bytes(random.Random(4).randbytes(300_000))
        run_backup(installation, SYSTEM, SOURCE, now=clock(LATER))
        (two.city.data / "big").unlink()
        sparse = run_backup(installation, SYSTEM, SOURCE, now=clock(LATER + timedelta(hours=1)), accept_shrink=True)
        retired = collect(installation, LATER + timedelta(hours=1)).plan.of(Act.RETIRE)
        data = {f"v1/d/{AGENT}/p/{decision.copy.pack[1:].hex()}" for decision in retired if decision.copy.kind == "p"}
        assert data & packs_of(installation, sparse)
        fresh = run_backup(installation, SYSTEM, SOURCE, now=clock(LATER + timedelta(hours=2)))
        assert not data & packs_of(installation, fresh)
        for later in (LATER + COLLECT_GRACE + timedelta(days=2), LATER + 3 * COLLECT_GRACE):
            collect(installation, later)
        assert not data & objects(installation, "main")
    assert two.city.read(fresh.id)[b"a"] == b"x" * 100


STOPPED = """
import sys, os, signal
from pathlib import Path
from datetime import datetime
from drbackup.controller.backup.run import run_backup
from drbackup.controller.home.installation import Installation
from drbackup.stores.folder.store import DirectoryStore

home, policies, system, source, now = sys.argv[1:]
real = DirectoryStore.put

def put(self, name, data):
    if "v1/r/" in name and self.name == "main":
        os.kill(os.getpid(), signal.SIGSTOP)  # behind the last check, before the commit
    real(self, name, data)

DirectoryStore.put = put
with Installation.open(Path(home), Path(policies)) as installation:
    print(run_backup(installation, system, source, now=lambda: datetime.fromisoformat(now)).id, flush=True)
"""


def test_a_controller_that_stood_still_for_weeks_before_its_commit_still_commits_a_restorable_point(
    two: TwoPoints,
) -> None:
    """Its lease is over and its run was taken over, but its next instruction stores the record."""
    words = [str(two.city.home), str(two.city.policies), SYSTEM, SOURCE, LATER.isoformat()]
    process = subprocess.Popen([sys.executable, "-c", STOPPED, *words], stdout=subprocess.PIPE, text=True)
    try:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        weeks = AT_LAST + 3 * COLLECT_GRACE
        with two.city.open() as installation:
            installation.catalog.runs.mark_dead(now=weeks)
            for later in (AT_LAST, weeks):
                report = collect(installation, later)
                assert {pack.reason.why for pack in report.plan.packs} <= {
                    Why.NEEDED,
                    Why.TELLS,
                    Why.SPARSE,
                    Why.BUSY,
                }
                assert report.erased == 0
        process.send_signal(signal.SIGCONT)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert said == ""  # the run was not its own any more
    with two.city.open() as installation:
        collect(installation, weeks)
        point = next(installation.catalog.points.list())
        assert not {point.id} & {two.old.id, two.new.id}
        assert restorable_in(two, point.id, point.copies)
        collect(installation, weeks + COLLECT_GRACE + DAY)
        assert restorable_in(two, point.id, point.copies)


def restorable_in(two: TwoPoints, point: str, stores: tuple[str, ...]) -> bool:
    return all(two.city.read(point, store)[b"a"] == OLD for store in stores)
