"""A promise that cannot hold is found before the fire, with its arithmetic."""

from __future__ import annotations

from pathlib import Path

import pytest

from drbackup.model.collect import LOCK_LEAST, lease_ns, lock_is_short
from tests.support.cities.policy_folder import PolicyFolder


@pytest.fixture
def folder(tmp_path: Path) -> PolicyFolder:
    return PolicyFolder(tmp_path / "policies")


@pytest.mark.parametrize(
    ("schedule", "place", "gap"),
    [
        ("every: 2h", "base.yaml:10:19", "2h"),
        ("every: 30m, window: '22:00-06:00', spread: false", "base.yaml:10:32", "16h30m"),
        ("cron: '0 8-18 * * mon-fri'", "base.yaml:10:18", "2d14h"),
    ],
)
def test_a_schedule_or_window_that_breaks_the_rpo_is_an_error(
    folder: PolicyFolder, schedule: str, place: str, gap: str
) -> None:
    folder.change("base.yaml", "every: 30m", schedule)
    assert folder.only()[:2] == (place, f"up to {gap} pass between two copies, but the promised RPO is 1h")


def test_copies_exactly_as_often_as_the_rpo_leave_no_time_and_are_a_warning(folder: PolicyFolder) -> None:
    folder.change("base.yaml", "every: 30m", "every: 1h")
    place, message, hint = folder.only("warning")
    assert place == "base.yaml:10:19"
    assert "no time is left for the copy itself" in message
    assert hint == "copy more often, like every: 30m"


def test_a_schedule_that_never_comes_is_an_error(folder: PolicyFolder) -> None:
    folder.change("base.yaml", "every: 30m", "every: 30m, window: '01:00-02:00', blackout: '00:00-03:00'")
    assert folder.only("error")[1] == "this schedule never comes due"


def test_a_blackout_by_date_that_breaks_the_rpo_is_a_warning(folder: PolicyFolder) -> None:
    folder.change("base.yaml", "every: 30m", "every: 30m, spread: false, blackout: ['2027-02-05..2027-02-06']")
    place, message, _ = folder.only("warning")
    assert place == "base.yaml:10:50"
    assert "2d30m pass around 2027-02-05..2027-02-06" in message


def test_a_lock_shorter_than_the_retention_is_an_error_that_shows_both(folder: PolicyFolder) -> None:
    folder.change("base.yaml", "keep: {daily: 30}", "keep: {daily: 30, monthly: 2}")
    place, message, hint = folder.only("error")
    assert place == "base.yaml:12:10"
    assert message == "the store 'offsite' locks objects for 40d, but keep holds points for 62d"
    assert "inventory.yaml:7" in hint
    assert "62" in hint


@pytest.mark.parametrize(
    ("days", "effect"),
    [(1, "every backup sends everything again"), (LOCK_LEAST - 1, "backups send again what is stored")],
)
def test_a_lock_too_short_to_be_a_lease_is_a_warning_at_its_own_place(
    folder: PolicyFolder, days: int, effect: str
) -> None:
    for name in ("base", "network"):
        folder.change(f"{name}.yaml", "keep: {daily: 30}", "keep: {daily: 1}")
    folder.change("inventory.yaml", "lock_days: 40", f"lock_days: {days}")
    place, message, hint = folder.only("warning")
    assert place == "inventory.yaml:7:38"
    assert f"locks objects for {days}d" in message
    assert "1d1h" in message
    assert effect in message
    assert hint.startswith(f"set lock_days to {LOCK_LEAST} or more")


def test_the_least_lock_that_is_no_warning_serves_as_a_lease_until_it_is_renewed() -> None:
    day = 86_400 * 10**9
    for days, serves in ((LOCK_LEAST, True), (LOCK_LEAST - 1, False)):
        left = next(left for left in range(0, days * day, day // 24) if not lock_is_short(left, 0, days))
        assert (left - day >= lease_ns(0, days)) is serves  # a day later, just before it is renewed


def test_a_lock_of_a_lease_or_more_is_no_warning(folder: PolicyFolder) -> None:
    for name in ("base", "network"):
        folder.change(f"{name}.yaml", "keep: {daily: 30}", "keep: {daily: 1}")
    folder.change("inventory.yaml", "lock_days: 40", f"lock_days: {LOCK_LEAST}")
    assert folder.findings() == []


def test_a_bucket_without_a_lock_is_a_warning_and_a_folder_is_none(folder: PolicyFolder) -> None:
    folder.change("inventory.yaml", ", lock_days: 40", "")
    assert [message[:38] for _, message, _ in folder.findings("warning")] == [
        "the store 'offsite' locks nothing: who"
    ] * 2
    folder.change("base.yaml", "[offsite]", "[shelf]")
    folder.change("network.yaml", "[offsite]", "[shelf]")
    assert folder.findings() == []


def test_rtos_that_add_up_to_more_than_the_promise_are_an_error_that_shows_the_path(folder: PolicyFolder) -> None:
    text = (folder.path / "base.yaml").read_text()
    folder.write("portal.yaml", text.replace("system: base", "system: portal").replace("[network]", "[base]"))
    place, message, _ = folder.only("error")
    assert place == "portal.yaml:5:28"
    assert message == "promised RTO 8h, but what must be back first takes 10h: network 2h → base 8h → portal"


def test_a_degraded_edge_is_not_waited_for(folder: PolicyFolder) -> None:
    text = (folder.path / "base.yaml").read_text().replace("system: base", "system: portal")
    folder.write("portal.yaml", text.replace("[network]", "[{system: base, degraded: true}]"))
    assert folder.findings() == []


def test_a_dependency_with_a_worse_rpo_is_a_warning(folder: PolicyFolder) -> None:
    folder.change("network.yaml", "rpo: 1h", "rpo: 12h")
    place, message, _ = folder.only("warning")
    assert place == "base.yaml:6:14"
    assert message.startswith("'network' may lose 12h, but 'base' needs it")


def test_a_promise_weaker_than_its_level_is_a_warning(folder: PolicyFolder) -> None:
    folder.change("base.yaml", "rpo: 1h, rto: 8h", "rpo: 2d, rto: 3d")
    assert [(place, message[:36]) for place, message, _ in folder.findings("warning")] == [
        ("base.yaml:5:19", "level 4 of GB/T 20988-2007 means RPO"),
        ("base.yaml:5:28", "level 4 of GB/T 20988-2007 means RTO"),
    ]
