"""The real command, as a script sees it: exit codes, one JSON document, what is on which stream."""

from __future__ import annotations

import json
import os
import shutil
import signal

import pytest

from tests.e2e.mishap import Town
from tests.support.cities.site import Site


def test_without_an_installation_it_exits_10_and_says_what_to_do(bare: Site) -> None:
    answer = bare.run("status")
    assert answer.code == 10
    assert answer.out == ""
    assert answer.err.startswith("failed: there is no installation in")
    assert "to found a new one: drbackup init" in answer.err


def test_a_vault_that_vanished_exits_10(site: Site) -> None:
    shutil.rmtree(site.folder / "store")
    assert site.run("backup", "--all").code == 10


def test_a_bad_policy_exits_2_and_names_file_line_and_column(bare: Site) -> None:
    bare.write(shedule={"every": "1h"})
    for words in (("policy", "check"), ("init",)):
        answer = bare.run(*words)
        assert answer.code == 2
        assert "registry.yaml:" in answer.out + answer.err
        assert "shedule" in answer.out + answer.err


def test_a_second_init_is_refused_and_changes_nothing(site: Site) -> None:
    before = sorted((path, path.read_bytes()) for path in site.home.rglob("*.key"))
    answer = site.run("init")
    assert answer.code == 2
    assert before == sorted((path, path.read_bytes()) for path in site.home.rglob("*.key"))


def test_status_exits_20_while_a_promise_is_broken_and_0_when_it_holds(site: Site) -> None:
    answer = site.run("status", "--json")
    assert answer.code == 20
    assert answer.document["breached"] == ["registry"]
    assert answer.document["error"]["code"] == "ObjectiveBreached"
    site.good("backup", "--all")
    assert site.good("status", "--json").document["breached"] == []


def test_some_backups_failing_exits_3_and_keeps_the_good_one(site: Site) -> None:
    shutil.rmtree(site.scans)
    answer = site.run("backup", "registry", "--json")
    assert answer.code == 3
    good, bad = answer.document["backups"]
    assert good["point"]["source"] == "register"
    assert bad["error"]["code"]
    assert len(site.good("points", "list", "--json").document["points"]) == 1


def test_all_backups_failing_is_not_called_partly_done(site: Site) -> None:
    shutil.rmtree(site.scans)
    assert site.run("backup", "registry/scans").code == 1


def test_an_emptied_source_fails_and_the_old_point_stays(site: Site) -> None:
    site.good("backup", "registry/scans")
    shutil.rmtree(site.scans)
    site.scans.mkdir()
    assert site.run("backup", "registry/scans").code == 1
    assert len(site.good("points", "list", "--json").document["points"]) == 1


def test_a_wrong_name_exits_2_and_is_guessed(site: Site) -> None:
    answer = site.run("backup", "regisrty")
    assert answer.code == 2
    assert "did you mean registry?" in answer.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_backup_exits_130_and_the_next_run_succeeds(site: Site, number: signal.Signals) -> None:
    export = site.folder / "data" / "export.fifo"
    os.mkfifo(export)
    source = {"name": "export", "agent": "db1", "canary": False, "command": {"backup": ["cat", str(export)]}}
    site.write(sources=[source], drill=None)
    town = Town(site, "", {})
    packs = site.folder / "store" / "v1" / "d"
    with town.running("backup", "registry/export") as run, run.feeding(export) as feed:
        while not any(packs.rglob("p/*")):  # one pack is stored, and the source has not ended
            feed(os.urandom(1 << 20))
        run.process.send_signal(number)
        answer = run.end()
    assert answer.code == 130, answer.err
    assert "interrupted" in answer.err
    assert site.good("points", "list", "--json").document["points"] == []
    with town.running("backup", "registry/export") as run:
        with run.feeding(export) as feed:
            feed(b"whole")
        assert run.end().code == 0


def test_the_tables_and_the_document_agree(health: Site) -> None:
    document = health.good("points", "list", "--json").document
    table = health.good("points", "list").out
    assert len(document["points"]) == 2
    for point in document["points"]:
        assert point["id"][:12] in table
        shown = health.good("points", "show", point["id"][:8], "--json").document["point"]
        assert shown == point


@pytest.mark.parametrize(
    "words",
    [
        "check",
        "policy check",
        "policy show registry",
        "agents list",
        "points list",
        "keys show",
        "evidence list",
        "evidence verify",
        "report month",
        "drill list",
        "vault scrub",
        "vault scrub --days 30",
        "vault repair",
        "vault catch-up",
    ],
)
def test_every_printing_command_gives_one_json_document(health: Site, words: str) -> None:
    answer = health.run(*words.split(), "--json")
    assert answer.code == 0, answer.err
    assert isinstance(json.loads(answer.out), dict)
