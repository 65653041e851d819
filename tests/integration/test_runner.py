"""A backup run from claimed to committed: real agent process, real wire, folder stores."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drbackup.controller.backup.adopt import adopt_records
from drbackup.controller.catalog.runs import LeaseRequest, RunKind, RunState
from drbackup.controller.home.installation import Installation
from drbackup.controller.runs.lease import lease_request
from drbackup.errors import (
    AgentMissing,
    DoneInPart,
    DrbackupError,
    Interrupted,
    ObjectCorrupt,
    PacksMissing,
    RunActive,
    RunLost,
    SourceShrunk,
    StoreFull,
    StoreUnavailable,
    UsageError,
    VaultMissing,
)
from drbackup.vault.record import read_record
from tests.support.cities.small_city import SOURCE, SYSTEM, SmallCity
from tests.support.doubles.faulty_store import Kind, Trouble, break_store, faulty, mend_store
from tests.support.runs import run_backup
from tests.support.services.seaweedfs import S3Server


@pytest.fixture
def city(tmp_path: Path) -> SmallCity:
    return SmallCity(tmp_path).build()


def states(installation: Installation) -> list[str]:
    return [str(run.state) for run in installation.catalog.runs.list()]


def test_a_committed_point_reads_back_whole_and_every_step_was_written(city: SmallCity) -> None:
    with city.open() as installation:
        heard: list[str] = []
        point = run_backup(installation, SYSTEM, SOURCE, on_progress=lambda news: heard.append(news.phase))
        run = installation.catalog.runs.last(RunKind.BACKUP, SYSTEM, SOURCE)
        assert run is not None
        assert (run.state, run.point) == (RunState.COMMITTED, point.id)
        assert run.pinned_at == point.pinned_at
        steps = [step.step for step in installation.catalog.runs.steps(run.id)]
        assert steps == ["due", "claimed", "connecting", "pinned", "sending", "committing", "committed"]
        (session,) = installation.catalog.sessions.list(run=run.id)
        assert session.outcome == "ok"
        assert "sending" in heard
    assert city.read(point.id) == {b"a": b"alpha" * 1000, b"b": b"beta" * 2000}


def test_records_of_one_source_form_a_chain(city: SmallCity) -> None:
    with city.open() as installation:
        points = [run_backup(installation, SYSTEM, SOURCE) for _ in range(3)]
        store = installation.store("main")
        previous = [read_record(store, point.name, installation.signer.public).previous for point in points]
    assert previous == ["", points[0].id, points[1].id]


def test_a_second_backup_sends_only_what_changed(city: SmallCity) -> None:
    with city.open() as installation:
        run_backup(installation, SYSTEM, SOURCE)
        (city.data / "c").write_bytes(b"gamma" * 100)
        second = run_backup(installation, SYSTEM, SOURCE)
    assert second.totals.new_bytes == 500
    assert set(city.read(second.id)) == {b"a", b"b", b"c"}


def test_an_unknown_system_or_source_starts_nothing(city: SmallCity) -> None:
    with city.open() as installation:
        with pytest.raises(UsageError):
            run_backup(installation, "nobody", SOURCE)
        with pytest.raises(UsageError, match="no source"):
            run_backup(installation, SYSTEM, "nothing")
        assert states(installation) == []


def test_two_runs_of_one_source_never_run_at_once(city: SmallCity, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = city.root / "wait"
    waiting.touch()
    monkeypatch.setenv("TREE_AGENT_WAIT", str(waiting))
    with city.open() as installation:
        sending = threading.Event()
        results: list[object] = []
        listen = installation.catalog.runs.step

        def step(*arguments: object, **more: object) -> None:
            listen(*arguments, **more)  # type: ignore[arg-type]
            if RunState.SENDING in arguments:
                sending.set()

        monkeypatch.setattr(installation.catalog.runs, "step", step)
        first = threading.Thread(target=lambda: results.append(run_backup(installation, SYSTEM, SOURCE)))
        first.start()
        assert sending.wait(30)
        with pytest.raises(RunActive):
            run_backup(installation, SYSTEM, SOURCE)
        waiting.unlink()
        first.join(30)
        assert len(results) == 1
        assert states(installation) == ["committed"]  # the refused one left no row


@pytest.mark.parametrize(("kind", "error"), [("full", StoreFull), ("unavailable", StoreUnavailable)])
def test_a_store_that_fails_fails_the_run_clearly_and_the_next_succeeds(
    city: SmallCity, kind: Kind, error: type[DrbackupError]
) -> None:
    with city.open(stores=faulty) as installation:
        good = run_backup(installation, SYSTEM, SOURCE)
        (city.data / "c").write_bytes(b"gamma" * 100)
        break_store(installation, "main", Trouble("put", kind=kind, times=100))
        with pytest.raises(error):
            run_backup(installation, SYSTEM, SOURCE)
        run = installation.catalog.runs.last(RunKind.BACKUP, SYSTEM, SOURCE)
        assert run is not None
        assert (run.state, run.error_code) == (RunState.FAILED, error.__name__)
        assert run.error_hint
        assert [point.id for point in installation.catalog.points.list()] == [good.id]
        mend_store(installation, "main")
        after = run_backup(installation, SYSTEM, SOURCE)
    assert set(city.read(after.id)) == {b"a", b"b", b"c"}
    assert set(city.read(good.id)) == {b"a", b"b"}


def test_a_record_whose_answer_was_lost_is_found_by_the_next_run(city: SmallCity) -> None:
    with city.open(stores=faulty) as installation:
        break_store(installation, "main", Trouble("put", kind="lost-answer", matching="v1/r/"))
        with pytest.raises(StoreUnavailable):
            run_backup(installation, SYSTEM, SOURCE)
        assert list(installation.catalog.points.list()) == []
        mend_store(installation, "main")
        second = run_backup(installation, SYSTEM, SOURCE)
        newest, oldest = installation.catalog.points.list()
        assert newest.id == second.id
        record = read_record(installation.store("main"), second.name, installation.signer.public)
        assert record.previous == oldest.id
        assert states(installation) == ["committed", "committed"]  # the first had committed after all


def test_a_pack_that_vanished_is_named_forgotten_and_sent_again(city: SmallCity) -> None:
    with city.open() as installation:
        run_backup(installation, SYSTEM, SOURCE)
        for pack in (city.root / "store-main").rglob("p/*"):
            pack.unlink()
        point = run_backup(installation, SYSTEM, SOURCE)
        run = installation.catalog.runs.last(RunKind.BACKUP, SYSTEM, SOURCE)
        assert run is not None
        assert len(installation.catalog.sessions.list(run=run.id)) == 2
    assert city.read(point.id) == {b"a": b"alpha" * 1000, b"b": b"beta" * 2000}


def test_a_truncated_pack_counts_as_missing(city: SmallCity) -> None:
    with city.open() as installation:
        run_backup(installation, SYSTEM, SOURCE)
        for pack in (city.root / "store-main").rglob("p/*"):
            pack.chmod(0o600)
            data = pack.read_bytes()
            pack.write_bytes(data[: len(data) // 2])
        point = run_backup(installation, SYSTEM, SOURCE)
    assert city.read(point.id) == {b"a": b"alpha" * 1000, b"b": b"beta" * 2000}


def test_a_disk_unmounted_under_a_running_controller_is_not_an_empty_store(city: SmallCity) -> None:
    store, aside = city.root / "store-main", city.root / "aside"
    with city.open() as installation:
        run_backup(installation, SYSTEM, SOURCE)
        store.rename(aside)  # what is left is the folder it was mounted on
        store.mkdir()
        with pytest.raises(VaultMissing):
            run_backup(installation, SYSTEM, SOURCE)
        assert list(store.iterdir()) == []
        store.rmdir()
        aside.rename(store)
        point = run_backup(installation, SYSTEM, SOURCE)
        assert point.totals.new_bytes == 0  # nothing was forgotten
    assert set(city.read(point.id)) == {b"a", b"b"}


def test_an_agent_that_names_packs_it_never_sent_gets_no_point(
    city: SmallCity, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = city.root / "lost"
    monkeypatch.setenv("TREE_AGENT_LOST", str(marks))
    with city.open() as installation:
        marks.touch()
        point = run_backup(installation, SYSTEM, SOURCE)  # once: asked again, it sends a true list
        assert installation.catalog.points.last(SYSTEM, SOURCE) == point
        monkeypatch.setattr("drbackup.controller.backup.run.missing_packs", lambda *_, **__: (b"p" + bytes(32),))
        with pytest.raises(PacksMissing, match="v1/d/"):
            run_backup(installation, SYSTEM, SOURCE)
        assert len(list(installation.catalog.points.list())) == 1


def test_a_shrunken_source_fails_until_a_person_accepts_it(city: SmallCity) -> None:
    with city.open() as installation:
        run_backup(installation, SYSTEM, SOURCE)
        (city.data / "b").unlink()
        with pytest.raises(SourceShrunk):
            run_backup(installation, SYSTEM, SOURCE)
        point = run_backup(installation, SYSTEM, SOURCE, accept_shrink=True)
    assert set(city.read(point.id)) == {b"a"}


def test_a_run_that_is_stopped_says_so_and_leaves_nothing_half_done(
    city: SmallCity, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = city.root / "wait"
    waiting.touch()
    monkeypatch.setenv("TREE_AGENT_WAIT", str(waiting))
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    with city.open() as installation:
        with pytest.raises(Interrupted):
            run_backup(installation, SYSTEM, SOURCE, stop=stop)
        run = installation.catalog.runs.last(RunKind.BACKUP, SYSTEM, SOURCE)
        assert run is not None
        assert (run.state, run.error_code) == (RunState.FAILED, "Interrupted")
        waiting.unlink()
        run_backup(installation, SYSTEM, SOURCE)


def test_a_missing_agent_program_fails_the_run(city: SmallCity) -> None:
    city.program = ("/nonexistent/agent",)
    city.write_policies()
    with city.open() as installation, pytest.raises(AgentMissing):
        run_backup(installation, SYSTEM, SOURCE)


def test_the_agent_that_ships_copies_and_is_believed(tmp_path: Path) -> None:
    city = SmallCity(tmp_path, module="drbackup_agent").build()
    with city.open() as installation:
        first = run_backup(installation, SYSTEM, SOURCE)
        (city.data / "c").write_bytes(b"gamma" * 100)
        for pack in (city.root / "store-main").rglob("p/*"):
            pack.unlink()  # what its cache remembers is gone: it must not be believed
        second = run_backup(installation, SYSTEM, SOURCE)
    assert first.totals.files == 2
    contents = sorted(city.read(second.id).values())
    assert contents == sorted([b"alpha" * 1000, b"beta" * 2000, b"gamma" * 100])


def test_a_lost_catalog_is_filled_again_from_the_store(city: SmallCity) -> None:
    with city.open() as installation:
        points = [run_backup(installation, SYSTEM, SOURCE) for _ in range(2)]
    for file in city.home.glob("catalog.sqlite*"):
        file.unlink()
    with Installation.open(city.home, city.policies, new_catalog=True) as installation:
        assert list(adopt_records(installation, "main", now=datetime.now(UTC))) == points
        assert list(installation.catalog.points.list()) == points[::-1]
        third = run_backup(installation, SYSTEM, SOURCE)
        record = read_record(installation.store("main"), third.name, installation.signer.public)
        assert record.previous == points[1].id


def test_a_record_that_was_altered_is_not_adopted(city: SmallCity) -> None:
    with city.open() as installation:
        run_backup(installation, SYSTEM, SOURCE)
    for file in city.home.glob("catalog.sqlite*"):
        file.unlink()
    (record,) = (city.root / "store-main" / "v1" / "r").rglob("*-*")
    record.chmod(0o600)
    record.write_bytes(record.read_bytes()[:-1] + b"!")
    opened = Installation.open(city.home, city.policies, new_catalog=True)
    with opened as installation, pytest.raises(ObjectCorrupt):
        adopt_records(installation, "main", now=datetime.now(UTC))


def test_a_strange_record_is_noted_and_keeps_nobody_from_backing_up(city: SmallCity) -> None:
    with city.open(stores=faulty) as installation:
        break_store(installation, "main", Trouble("put", matching="v1/r/"))
        with pytest.raises(StoreUnavailable):
            run_backup(installation, SYSTEM, SOURCE)
        failed = installation.catalog.runs.last(RunKind.BACKUP, SYSTEM, SOURCE)
        assert failed is not None
        mend_store(installation, "main")
        installation.store("main").put(f"v1/r/{SYSTEM}/20261123T000000Z-{'ab' * 32}", b"a forged record")
        run_backup(installation, SYSTEM, SOURCE)
        assert installation.catalog.runs.get(failed.id).state == RunState.FAILED
        settled = installation.catalog.runs.steps(failed.id)[-1]
        assert settled.step == "settled"
        assert "not ours: v1/r/" in settled.detail


# --- two copies -------------------------------------------------------------------------------------------------------


@pytest.fixture
def twins(tmp_path: Path) -> SmallCity:
    return SmallCity(tmp_path, copies="main, other").build()


def test_each_copy_holds_the_whole_point_by_itself(twins: SmallCity) -> None:
    with twins.open() as installation:
        point = run_backup(installation, SYSTEM, SOURCE)
    assert point.copies == ("main", "other")
    assert (
        twins.read(point.id, "main") == twins.read(point.id, "other") == {b"a": b"alpha" * 1000, b"b": b"beta" * 2000}
    )


def test_a_commit_whose_answer_was_lost_is_found_although_the_copies_changed_places(twins: SmallCity) -> None:
    with twins.open(stores=faulty) as installation:
        break_store(installation, "main", Trouble("put", kind="lost-answer", matching="v1/r/"))
        with pytest.raises(StoreUnavailable):
            run_backup(installation, SYSTEM, SOURCE)
    twins.copies = "other, main"
    twins.write_policies()
    with twins.open() as installation:
        second = run_backup(installation, SYSTEM, SOURCE)
        newest, oldest = installation.catalog.points.list()
        record = read_record(installation.store("other"), second.name, installation.signer.public)
    assert (newest.id, record.previous) == (second.id, oldest.id)
    assert twins.read(oldest.id, "main") == twins.read(second.id, "other")


@pytest.mark.parametrize("place", ["/p/", "v1/r/"])
def test_a_second_store_that_fails_makes_a_partial_run_and_catches_up_later(twins: SmallCity, place: str) -> None:
    with twins.open(stores=faulty) as installation:
        break_store(installation, "other", Trouble("put", kind="full", times=100, matching=place))
        with pytest.raises(DoneInPart, match="not in other"):
            run_backup(installation, SYSTEM, SOURCE)
        (first,) = installation.catalog.points.list()
        assert first.copies == ("main",)
        run = installation.catalog.runs.last(RunKind.BACKUP, SYSTEM, SOURCE)
        assert run is not None
        assert (run.state, run.error_code) == (RunState.COMMITTED, "DoneInPart")
        mend_store(installation, "other")
        second = run_backup(installation, SYSTEM, SOURCE)
        assert second.copies == ("main", "other")
        assert installation.catalog.points.get(first.id).copies == ("main", "other")
    assert twins.read(first.id, "other") == twins.read(second.id, "other")


def test_a_pack_that_reads_back_wrong_is_never_committed(twins: SmallCity) -> None:
    with twins.open(stores=faulty) as installation:
        break_store(installation, "main", Trouble("put", kind="flipped", matching="/p/"))
        with pytest.raises(ObjectCorrupt):
            run_backup(installation, SYSTEM, SOURCE)
        assert list(installation.catalog.points.list()) == []
        mend_store(installation, "main")
        for pack in (twins.root / "store-main").rglob("p/*"):
            pack.unlink()  # what scrub would tell a person to do
        run_backup(installation, SYSTEM, SOURCE)


def test_a_copy_is_never_written_into_a_vault_that_is_not_there(twins: SmallCity) -> None:
    (twins.root / "store-other" / "v1" / "vault").unlink()
    with twins.open() as installation, pytest.raises(DoneInPart, match="no vault"):
        run_backup(installation, SYSTEM, SOURCE)
    (twins.root / "store-main" / "v1" / "vault").unlink()
    with twins.open() as installation, pytest.raises(VaultMissing):
        run_backup(installation, SYSTEM, SOURCE)


@pytest.mark.s3
def test_an_agent_uploads_to_a_bucket_by_signed_requests_and_the_copy_follows(
    tmp_path: Path, s3_server: S3Server, s3_bucket: str
) -> None:
    bucket = f"bucket: {s3_bucket}, endpoint: '{s3_server.endpoint}', credentials_file: {s3_server.credentials_file()}"
    stores = f"  cloud: {{s3: {{{bucket}}}, prefix: city/}}\n"
    city = SmallCity(tmp_path, copies="cloud, main", module="drbackup_agent", stores=stores).build()
    with city.open() as installation:
        point = run_backup(installation, SYSTEM, SOURCE)
        second = run_backup(installation, SYSTEM, SOURCE)
        record = read_record(installation.store("cloud"), second.name, installation.signer.public)
    assert point.copies == ("cloud", "main")
    assert record.previous == point.id
    assert second.totals.new_bytes == 0
    assert city.read(point.id, "cloud") == city.read(second.id, "main")


# --- leases -----------------------------------------------------------------------------------------------------------


def test_a_run_whose_lease_ran_out_is_taken_over_and_can_write_no_more(city: SmallCity) -> None:
    with city.open() as installation:
        runs = installation.catalog.runs
        then = datetime.now(UTC) - timedelta(minutes=10)
        elsewhere = LeaseRequest("other-host:1:2:3:4", then, then + timedelta(seconds=90))
        lost = runs.start(RunKind.BACKUP, SYSTEM, SOURCE, lease=elsewhere)
        runs.step(lost, RunState.SENDING, now=then)
        run_backup(installation, SYSTEM, SOURCE)
        taken = runs.get(lost.run)
        assert (taken.state, taken.error_code) == (RunState.FAILED, "ControllerDied")
        assert "died at step sending" in taken.error_message
        with pytest.raises(RunLost):
            runs.step(lost, RunState.COMMITTING, now=datetime.now(UTC))


def test_a_living_holder_on_another_host_is_waited_for(city: SmallCity) -> None:
    with city.open() as installation:
        now = datetime.now(UTC)
        elsewhere = LeaseRequest("other-host:1:2:3:4", now, now + timedelta(seconds=90))
        installation.catalog.runs.start(RunKind.BACKUP, SYSTEM, SOURCE, lease=elsewhere)
        with pytest.raises(RunActive):
            run_backup(installation, SYSTEM, SOURCE)


def test_fences_grow(city: SmallCity) -> None:
    with city.open() as installation:
        runs = installation.catalog.runs
        fences = []
        for _ in range(3):
            claim = runs.start(RunKind.BACKUP, SYSTEM, SOURCE, lease=lease_request(datetime.now(UTC)))
            fences.append(claim.fence)
            runs.fail(claim, DrbackupError("enough"), now=datetime.now(UTC))
    assert fences == [1, 2, 3]
