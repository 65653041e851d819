"""A folder is read whole: every mistake at once, each at its place, and a wrong folder loads nothing."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from drbackup.controller.home.policies import inspect_folder, load
from drbackup.errors import PolicyError
from tests.support.cities.policy_folder import SHIPPED, PolicyFolder


@pytest.fixture
def folder(tmp_path: Path) -> PolicyFolder:
    return PolicyFolder(tmp_path / "policies")


def test_the_shipped_city_has_nine_systems_and_no_finding_at_all() -> None:
    inspection = inspect_folder(SHIPPED)
    assert [str(finding) for finding in inspection.findings] == []
    assert inspection.policy_set is not None
    assert set(inspection.policy_set.policies) == {
        "citizen-card",
        "community-servers",
        "drbackup",
        "emergency-dispatch",
        "enterprise-base",
        "gov-network",
        "online-approval",
        "professional-databases",
        "security-system",
    }


def test_every_shipped_file_names_its_schema_for_editors() -> None:
    for path in SHIPPED.glob("*.yaml"):
        which = "inventory" if path.name == "inventory.yaml" else "policy"
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first == f"# yaml-language-server: $schema=schema/{which}.schema.json"
        assert (SHIPPED / first.partition("$schema=")[2]).exists()


def test_a_good_folder_loads_with_every_default_filled_in(folder: PolicyFolder) -> None:
    folder.change("network.yaml", "objectives: {rpo: 1h, rto: 2h}\n", "objectives: {rto: 2h}\n")
    folder.change("inventory.yaml", "title: Test city", "title: Test city\ntime_zone: Europe/Berlin")
    folder.change("base.yaml", "rpo: 1h", "rpo: 36h")
    loaded = load(folder.path)
    assert loaded.policies["network"].objectives.rpo == timedelta(days=1)
    assert loaded.policies["network"].schedule.time_zone == "Europe/Berlin"
    assert loaded.inventory.title == "Test city"


def test_objectives_left_out_are_those_of_the_level(folder: PolicyFolder) -> None:
    folder.change("base.yaml", "objectives: {rpo: 1h, rto: 8h}\n", "")
    promised = load(folder.path).policies["base"].objectives
    assert (promised.rpo, promised.rto) == (timedelta(days=1), timedelta(days=2))


def test_level_six_promises_no_loss_so_it_must_say_what_it_means(folder: PolicyFolder) -> None:
    folder.change("base.yaml", "level: 4\nobjectives: {rpo: 1h, rto: 8h}", "level: 6")
    assert folder.only("error")[1] == "the key 'rpo' is missing"


def test_the_digest_tells_whether_anything_changed(folder: PolicyFolder) -> None:
    before = load(folder.path).digest
    assert load(folder.path).digest == before
    folder.change("base.yaml", "title: Enterprise base", "title: Enterprise library")
    assert load(folder.path).digest != before


def test_broken_yaml_is_one_error_and_the_other_files_are_still_checked(folder: PolicyFolder) -> None:
    folder.change("base.yaml", "level: 4", "\tlevel: 4")
    folder.change("network.yaml", "agent: centre", "agent: center")
    assert [(place, message) for place, message, _ in folder.findings()] == [
        (
            "base.yaml:4:1",
            "not YAML: while scanning for the next token found character '\\t' that cannot start any token",
        ),
        ("network.yaml:7:28", "inventory.yaml has no agent 'center'"),
    ]


def test_an_unknown_agent_is_named_with_the_one_that_was_meant(folder: PolicyFolder) -> None:
    folder.change("base.yaml", "registry, agent: centre", "registry, agent: center")
    assert folder.only() == ("base.yaml:8:29", "inventory.yaml has no agent 'center'", "did you mean 'centre'?")


def test_an_unknown_key_is_named_with_the_one_that_was_meant(folder: PolicyFolder) -> None:
    folder.change("base.yaml", "every: 30m", "every: 30m, spreed: true")
    assert folder.only() == ("base.yaml:10:24", "unknown key 'spreed'", "did you mean 'spread'?")


@pytest.mark.parametrize(
    ("name", "old", "new", "place", "hint"),
    [
        ("base.yaml", "postgres:", "postgress:", "base.yaml:8:37", "did you mean 'postgres'?"),
        ("base.yaml", "{database:", "{databse: x, database:", "base.yaml:8:48", "did you mean 'database'?"),
        ("base.yaml", "counts: match", "cuonts: match", "base.yaml:16:26", "did you mean 'counts'?"),
        ("inventory.yaml", "lock_days", "lock_day", "inventory.yaml:7:27", "did you mean 'lock_days'?"),
    ],
)
def test_an_unknown_key_is_found_at_any_depth(
    folder: PolicyFolder, name: str, old: str, new: str, place: str, hint: str
) -> None:
    folder.change(name, old, new)
    assert (place, hint) in [(where, way_out) for where, message, way_out in folder.findings() if "unknown" in message]


def test_a_duplicate_key_is_an_error(folder: PolicyFolder) -> None:
    folder.change("base.yaml", "level: 4", "level: 4\nlevel: 5")
    assert folder.only("error") == (
        "base.yaml:5:1",
        "the key 'level' stands here a second time",
        "it is already on line 4",
    )


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ("level: 4", 'level: "4"', "base.yaml:4:8", "'4' must be a whole number"),
        ("level: 4", "level: 9", "base.yaml:4:8", "9 must be less than or equal to 6"),
        ("level: 4", "level: true", "base.yaml:4:8", "true must be a whole number"),
        ("level: 4", "level:", "base.yaml:4:7", "an empty value: must be a whole number"),
        ("title: Enterprise base", "title: 5", "base.yaml:2:8", "5 must be text"),
        ("title: Enterprise base\n", "", "base.yaml:1:1", "the key 'title' is missing"),
        ("rto: 8h", "rto: 8", "base.yaml:5:28", "8 has no unit: a length of time is written like 8m, 8h or 8d"),
        ("rto: 8h", "rto: 0h", "base.yaml:5:28", "'0h' is no time at all: it must be longer than zero"),
        ("copies: [offsite]", "copies: offsite", "base.yaml:12:9", "'offsite' must be a list"),
        ("copies: [offsite]", "copies: []", "base.yaml:12:9", "the list 'copies' must not be empty"),
        ("[/srv/scans]", "[srv/scans]", "base.yaml:9:50", "'srv/scans' must be an absolute path"),
        ("keep: {daily: 30}", "keep: 30", "base.yaml:11:7", "30 must be a mapping of keys and values"),
        ("keep: {daily: 30}", "keep: {}", "base.yaml:11:7", "nothing would be kept"),
        ("system: base", "system: My Base", "base.yaml:1:9", "'My Base' is not a name"),
        ("every: 30m", "every: 30m, cron: '0 1 * * *'", "base.yaml:10:11", "exactly one of every, cron is needed"),
        ("every: 30m", "cron: '0 25 * * *'", "base.yaml:10:18", "the hour field of the cron line reads '25'"),
        ("every: 30m", "every: 30m, time_zone: Asia/Hangzhou", "base.yaml:10:35", "'Asia/Hangzhou' is not a time zone"),
        ("every: 30m", "every: 30m, catch_up: twice", "base.yaml:10:34", "'twice' must be 'once' or 'skip'"),
        ("every: 30m", "every: 30m, spread: yes", "base.yaml:10:32", "'yes' must be true or false"),
        ("every: 30m", "every: 5s", "base.yaml:10:11", "every: 5s is shorter than one minute"),
        ("on: drill1", "on: drill1\n  every: 0d", "base.yaml:15:10", "every: 0d is shorter than one minute"),
        ("on: drill1", "on: drill1\n  every: monthly", "base.yaml:15:10", "'monthly' is not how often"),
        (
            "postgres: {database: registry}",
            "postgres: {database: r}, sqlite: {path: /x}",
            "base.yaml:8:5",
            "exactly one",
        ),
        ("counts: match", "counts: 1.5", "base.yaml:16:34", "1.5 must be 'match'"),
        ("counts: match", "files: match, counts: match", "base.yaml:16:7", "a check has exactly one of these sets"),
        ("counts: match", "sql: select 1, expect: {}", "base.yaml:16:49", "an expectation needs one of"),
    ],
)
def test_a_wrong_value_is_named_at_its_place(
    folder: PolicyFolder, old: str, new: str, place: str, message: str
) -> None:
    folder.change("base.yaml", old, new)
    assert [(where, words.startswith(message)) for where, words, _ in folder.findings("error")] == [(place, True)]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{transport: local}", "{transport: ssh}", "an ssh agent needs host"),
        ("{transport: local}", "{transport: ssh, host: h}", "an ssh agent needs host_keys"),
        (
            "{transport: local}",
            "{transport: ssh, host: h, key_file: /k, host_keys: [ssh-ed25519 AAAA]}",
            "the ssh-ed25519 host key is cut off",
        ),
        ("{transport: local}", "{transport: local, host: h}", "a local agent has no host"),
        ("{transport: local}", "{transport: shh}", "'shh' must be 'local' or 'ssh'"),
        ("{transport: local}", "{transport: local, bandwidth: 10Mbit}", "'10Mbit' counts bits"),
        ("{transport: local}", "{transport: local, jump: drill1}", "a local agent has no jump"),
        ("bucket: backups", "bucket: Backups", "'Backups' is not allowed here"),
        ("bucket: backups", "bucket: backups, endpoint: s3.example", "endpoint 's3.example' must begin with https://"),
        ("centre: {", "Centre: {", "'Centre' is not an agent's name"),
        ("title: Test city", "title: Test city\nlevels: gbt20988-2025", "there is no level table 'gbt20988-2025'"),
        ("title: Test city", "title: Test city\ntime_zone: Mars/Olympus", "'Mars/Olympus' is not a time zone"),
    ],
)
def test_a_wrong_inventory_is_named_at_its_place(folder: PolicyFolder, old: str, new: str, message: str) -> None:
    folder.change("inventory.yaml", old, new)
    found = [(place, words) for place, words, _ in folder.findings("error") if place.startswith("inventory.yaml")]
    assert any(words.startswith(message) for _, words in found)


def test_all_errors_of_all_files_come_at_once_in_order(folder: PolicyFolder) -> None:
    folder.change("base.yaml", "level: 4", "level: four")
    folder.change("base.yaml", "agent: centre, files", "agent: nobody, files")
    folder.change("base.yaml", "copies: [offsite]", "copies: [ofsite]")
    folder.change("network.yaml", "schedule:", "shedule:")
    folder.change("inventory.yaml", "title: Test city", "titel: Test city")
    places = [place for place, _, _ in folder.findings()]
    assert places == [
        "base.yaml:4:8",
        "base.yaml:9:26",
        "base.yaml:12:10",
        "inventory.yaml:1:1",
        "inventory.yaml:1:1",
        "network.yaml:1:1",
        "network.yaml:8:1",
    ]


def test_a_wrong_folder_raises_one_error_that_holds_every_finding(folder: PolicyFolder) -> None:
    folder.change("base.yaml", "level: 4", "level: four")
    folder.change("network.yaml", "schedule:", "shedule:")
    with pytest.raises(PolicyError) as caught:
        load(folder.path)
    assert caught.value.exit_code == 2
    assert caught.value.message.startswith("3 errors in ")
    assert "base.yaml:4:8: error: 'four' must be a whole number" in caught.value.message
    assert "hint: did you mean 'schedule'?" in caught.value.message
    assert caught.value.safe == "nothing was changed; a daemon that runs keeps the policies it has"


def test_a_missing_folder_inventory_or_policy_is_said_plainly(folder: PolicyFolder, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="there is no policy folder"):
        load(tmp_path / "nowhere")
    (folder.path / "inventory.yaml").unlink()
    assert folder.only("error")[1] == "the inventory is missing"
    for name in ("base.yaml", "network.yaml"):
        (folder.path / name).unlink()
    assert [message for _, message, _ in folder.findings()] == ["the folder has no policy", "the inventory is missing"]


def test_files_that_are_no_policies_are_findings_or_passed_over(folder: PolicyFolder) -> None:
    (folder.path / "gbk.yaml").write_bytes("system: 网络".encode("gbk"))
    (folder.path / "empty.yaml").write_text("")
    (folder.path / "list.yaml").write_text("- a\n")
    (folder.path / "null.yaml").write_text("---\n")
    (folder.path / ".base.yaml.swp.yaml").write_text("::::")
    (folder.path / "notes.txt").write_text("::::")
    assert [(place, message) for place, message, _ in folder.findings()] == [
        ("empty.yaml:1:1", "the file is empty"),
        ("gbk.yaml:1:1", "not UTF-8 text"),
        ("list.yaml:1:1", "the file must be a mapping of keys and values"),
        ("null.yaml:2:1", "the file says nothing"),
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_a_finding(folder: PolicyFolder) -> None:
    (folder.path / "base.yaml").chmod(0)
    assert "the file can't be read" in folder.findings("error")[0][1]


def test_a_dangling_link_is_passed_over_and_a_huge_file_is_a_finding(folder: PolicyFolder) -> None:
    (folder.path / "gone.yaml").symlink_to(folder.path / "nowhere")
    (folder.path / "huge.yaml").write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    assert "too many for a policy" in folder.only("error")[1]
