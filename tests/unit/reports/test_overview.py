"""The status says what is promised, what is so, and what a person must do."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.drills import Drill
from drbackup.controller.catalog.runs import Run, RunKind, RunState
from drbackup.model.objectives import DrillStanding
from drbackup.model.point import Point, Rung, Totals
from drbackup.model.policy import Policy
from drbackup.model.scrub import Wounded
from drbackup.reports import gettext
from drbackup.reports.needs import NeedWords, words_of
from drbackup.reports.overview import Memory, Overview, judge, recall
from drbackup.reports.status import document, render
from tests.support.cities.long_history import add_drills, add_points, add_runs

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
PLACE = ("enterprise-base", "registry")


def a_policy(**changes: Any) -> Policy:
    values: dict[str, Any] = {
        "system": PLACE[0],
        "title": "企业基础信息库",
        "department": "market-regulation",
        "level": 4,
        "objectives": {"rpo": "1h", "rto": "8h"},
        "sources": [{"name": PLACE[1], "agent": "db1", "sqlite": {"path": "/srv/registry.db"}}],
        "schedule": {"every": "30m"},
        "keep": {"daily": 7},
        "copies": ["offsite"],
        "drill": {"every": "month", "on": "drill1", "checks": [{"source": PLACE[1], "counts": "match"}]},
    }
    return Policy.model_validate(values | changes)


def a_point(age: timedelta) -> Point:
    then = NOW - age
    return Point(
        "ab" * 32, "v1/r/x", *PLACE, "d", "sqlite", then, then, Totals(1, 1, 10, 1000, 1000, 500), Rung.WRITTEN, then
    )


def a_drill(age: timedelta, verdict: str = "passed", rto: float = 60.0) -> Drill:
    then = NOW - age
    return Drill("d1", PLACE[0], "monthly", then, then, then, verdict, rto_seconds=rto, findings=("scans: 2 differ",))


def a_run(state: RunState, message: str = "") -> Run:
    nothing: dict[str, Any] = dict.fromkeys(
        ("position", "holder", "host", "point", "error_where", "error_hint", "phase"), ""
    )
    return Run(
        id="r1",
        kind=RunKind.BACKUP,
        system=PLACE[0],
        source=PLACE[1],
        state=state,
        due_at=NOW,
        created_at=NOW,
        started_at=NOW,
        ended_at=NOW - timedelta(minutes=5),
        pinned_at=None,
        lease_until=None,
        fence=1,
        error_code="",
        error_message=message,
        content_bytes=0,
        stored_bytes=0,
        entries=0,
        **nothing,
    )


def standing(memory: Memory, policy: Policy | None = None) -> Overview:
    return judge("城市", [policy or a_policy()], memory, NOW)


def said(overview: Overview) -> list[NeedWords]:
    return [words_of(need, overview.now) for need in overview.needs]


def shown(overview: Overview) -> str:
    console = Console(width=200, color_system=None)
    with console.capture() as captured:
        console.print(render(overview, UTC, 200, 0))
    return captured.get()


def test_a_source_without_a_point_is_a_broken_promise() -> None:
    overview = standing(Memory())
    assert overview.breached == ("enterprise-base",)
    assert overview.needs[0].urgent
    assert said(overview)[0].next == "drbackup backup enterprise-base/registry"


def test_a_fresh_point_and_a_fresh_drill_need_nobody() -> None:
    memory = Memory({PLACE: a_point(timedelta(minutes=12))}, {}, {PLACE[0]: a_drill(timedelta(days=3))})
    overview = standing(memory)
    assert overview.breached == ()
    assert overview.needs == ()


def test_a_point_older_than_the_rpo_breaks_it_and_one_near_it_warns() -> None:
    drills = {PLACE[0]: a_drill(timedelta(days=3))}
    late = standing(Memory({PLACE: a_point(timedelta(minutes=61))}, {}, drills))
    near = standing(Memory({PLACE: a_point(timedelta(minutes=55))}, {}, drills))
    assert late.breached
    assert "61 min" in said(late)[0].what
    assert not near.breached
    assert not near.needs[0].urgent


def test_a_failed_backup_is_shown_though_the_promise_still_holds() -> None:
    memory = Memory({PLACE: a_point(timedelta(minutes=12))}, {PLACE: a_run(RunState.FAILED, "no route to db1")})
    overview = standing(memory)
    assert not overview.breached
    assert "no route to db1" in said(overview)[0].what


@pytest.mark.parametrize(
    ("drill", "expected"),
    [
        (None, DrillStanding.NEVER),
        (a_drill(timedelta(days=40)), DrillStanding.OVERDUE),
        (a_drill(timedelta(days=1), "failed"), DrillStanding.FAILED),
        (a_drill(timedelta(days=1), "not-run"), DrillStanding.FAILED),
        (a_drill(timedelta(days=1), "gibberish"), DrillStanding.FAILED),
        (a_drill(timedelta(days=1), "conditional"), DrillStanding.CONDITIONAL),
        (a_drill(timedelta(days=1)), DrillStanding.PROVEN),
    ],
)
def test_only_a_good_and_recent_drill_counts(drill: Drill | None, expected: DrillStanding) -> None:
    memory = Memory({PLACE: a_point(timedelta(0))}, {}, {PLACE[0]: drill} if drill else {})
    assert standing(memory).systems[0].drilled is expected


def test_an_rto_measured_above_the_promise_is_a_broken_promise() -> None:
    memory = Memory({PLACE: a_point(timedelta(0))}, {}, {PLACE[0]: a_drill(timedelta(days=1), rto=9 * 3600)})
    assert standing(memory).breached == ("enterprise-base",)


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("language", ["en", "zh_CN"])
def test_the_screen_fits_the_terminal_and_names_the_system(width: int, language: str) -> None:
    gettext.speak(language)
    try:
        console = Console(width=width, record=True, color_system=None)
        with console.capture() as captured:
            console.print(render(standing(Memory({PLACE: a_point(timedelta(hours=3))})), UTC, width, 24))
    finally:
        gettext.speak("en")
    from rich.cells import cell_len

    lines = captured.get().splitlines()
    assert any("enterprise-base" in line for line in lines)
    assert all(cell_len(line) <= width for line in lines)
    assert len(lines) <= 12


def test_the_document_is_json_with_utc_instants_and_seconds() -> None:
    memory = Memory(
        {PLACE: a_point(timedelta(hours=3))}, {PLACE: a_run(RunState.FAILED, "x")}, {PLACE[0]: a_drill(timedelta(1))}
    )
    read = json.loads(json.dumps(document(standing(memory))))
    source = read["systems"][0]["sources"][0]
    assert source["rpo"] == {"state": "breached", "promised_seconds": 3600.0, "now_seconds": 10800.0}
    assert source["newest"]["pinned_at"] == "2026-11-23T01:00:00.000Z"
    assert read["breached"] == ["enterprise-base"]


def test_a_damaged_copy_is_urgent_and_a_lacking_one_is_named() -> None:
    point = a_point(timedelta(minutes=10))
    drilled = {"drills": {PLACE[0]: a_drill(timedelta(days=1))}, "newest": {PLACE: point}}
    hurt = [Wounded(f"{number}", NOW, ("second",), ("offsite",)) for number in range(3)]
    overview = standing(Memory(**drilled, damaged={PLACE: hurt}, lacking={PLACE: {"third": 2}}))  # type: ignore[arg-type]
    assert [(need.subject, need.next, need.urgent) for need in said(overview)] == [
        ("enterprise-base/registry", "drbackup vault repair second", True),
        ("enterprise-base/registry", "drbackup vault catch-up third", False),
    ]
    assert "3 points" in said(overview)[0].what
    assert "every promise holds" in shown(overview)  # the other copy keeps it


def test_what_no_second_copy_can_mend_is_never_sent_to_repair() -> None:
    sound, lost = a_point(timedelta(minutes=50)), Wounded("cd" * 32, NOW - timedelta(minutes=5), ("offsite",), ())
    (need, *_) = said(standing(Memory(newest={PLACE: sound}, damaged={PLACE: [lost]})))
    assert need.urgent
    assert need.next == "drbackup backup enterprise-base/registry"  # stores what the source still has
    newer = a_point(timedelta(minutes=1))
    (need, *_) = said(standing(Memory(newest={PLACE: newer}, damaged={PLACE: [lost]})))
    assert not need.urgent
    assert need.next == "drbackup points list enterprise-base/registry"


def test_two_copies_that_are_both_damaged_may_mend_each_other() -> None:
    torn = Wounded("cd" * 32, NOW, ("offsite", "second"), ())
    (backup, repair, *_) = said(standing(Memory(damaged={PLACE: [torn]})))
    assert (backup.next, repair.next) == ("drbackup backup enterprise-base/registry", "drbackup vault repair")
    assert "every copy (offsite, second)" in repair.what
    (repair, *_) = said(standing(Memory(newest={PLACE: a_point(timedelta(0))}, damaged={PLACE: [torn]})))
    assert not repair.urgent  # nothing of today hangs on it


def test_no_screen_says_that_every_promise_holds_while_a_point_is_whole_in_no_copy() -> None:
    drills = {PLACE[0]: a_drill(timedelta(days=1))}
    sound = {PLACE: a_point(timedelta(minutes=1))}
    for copies in (("offsite",), ("offsite", "second")):
        hurt = {PLACE: [Wounded("cd" * 32, NOW, copies, ())]}
        overview = standing(Memory(newest=sound, drills=drills, damaged=hurt))
        assert "every promise holds" not in shown(overview)
        assert "1 point is whole in no copy" in shown(overview)
        assert document(overview)["systems"][0]["sources"][0]["points_lost"] == 1


def test_a_source_whose_every_point_is_lost_is_not_called_never_backed_up() -> None:
    overview = standing(Memory(damaged={PLACE: [Wounded("cd" * 32, NOW, ("offsite",), ())]}))
    assert overview.breached == ("enterprise-base",)
    (need, *others) = said(overview)
    assert "its only copy" in need.what
    assert need.next == "drbackup backup enterprise-base/registry"
    assert all("backed up" not in each.what for each in others)


def test_a_night_in_which_a_store_could_not_be_read_back_is_named() -> None:
    point = a_point(timedelta(minutes=10))
    drilled = {"drills": {PLACE[0]: a_drill(timedelta(days=1))}, "newest": {PLACE: point}}
    bad = {"offsite": a_run(RunState.FAILED, "does not answer"), "second": a_run(RunState.COMMITTED)}
    overview = standing(Memory(**drilled, scrubs=bad))  # type: ignore[arg-type]
    (need,) = said(overview)
    assert need.subject == "offsite"
    assert "does not answer" in need.what


def test_what_is_remembered_lies_behind_however_many_newer_rows(tmp_path: Path) -> None:
    """A store's last reading behind hundreds of others', and points that are lacking by the ten thousand."""
    minute = timedelta(minutes=1)
    with Catalog.open(tmp_path / "catalog.sqlite") as catalog:
        scrubs = {"system": "vault", "kind": RunKind.SCRUB}
        (failed,) = add_runs(catalog, source="offsite", due=[NOW - timedelta(days=9)], state=RunState.FAILED, **scrubs)
        add_runs(catalog, source="main", due=[NOW - minute * number for number in range(201)], **scrubs)
        add_points(catalog, *PLACE, [NOW - minute * number for number in range(10_001)], store="main")
        (drill,) = add_drills(catalog, PLACE[0], [NOW])
        memory = recall(catalog, [a_policy(copies=["main", "offsite"])])
    assert memory.scrubs["offsite"].id == failed
    assert memory.lacking[PLACE] == {"offsite": 10_001}
    assert memory.drills[PLACE[0]].id == drill
