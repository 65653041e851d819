"""The backup centre burns down: all comes back from the store and the custodians' shares, by the real command."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from tests.e2e.test_restore_and_drill import contents
from tests.support.cities.site import Site


def join(site: Site, shares: list[str]) -> Path:
    key = site.folder / "recovery.key"
    answer = site.run("keys", "combine", "--to", str(key), feed="\n".join(shares[:2]) + "\n")
    assert answer.code == 0, answer.err
    return key


def forget_what_agents_remember(site: Site) -> None:
    """Their caches would spare the questions that the rebuilt catalog is to answer."""
    for path in (site.folder / "agents" / "db1").rglob("*"):
        if path.is_file():
            path.unlink()


def test_a_burnt_centre_comes_back_with_the_shares_and_goes_on(bare: Site) -> None:
    site = bare
    shares = site.found()
    (site.scans / "map.tif").write_bytes(secrets.token_bytes(6 << 20))
    site.good("backup", "--all")
    (site.scans / "sub" / "新.txt").write_text("第二条\n", encoding="utf-8")
    site.good("backup", "--all")
    site.good("drill", "run", "registry")
    points = site.good("points", "list", "--json").document["points"]
    drills = site.good("drill", "list", "--json").document["drills"]
    keys = {path.name: path.read_text() for path in (site.home / "keys").iterdir()}
    shutil.rmtree(site.home)

    key = join(site, shares)
    plan = site.good("vault", "rebuild", "--recovery-key", str(key), "--json").document
    assert (plan["applied"], plan["points"], plan["drills"], plan["faults"]) == (False, 4, 1, [])
    assert plan["keys"] == ["catalog.key", "domains.key", "evidence.key"]
    assert not site.home.exists()
    site.good("vault", "rebuild", "--recovery-key", str(key), "--apply")
    del keys["drill.key"]
    assert {path.name: path.read_text() for path in (site.home / "keys").iterdir()} == keys
    assert {path.stat().st_mode & 0o777 for path in (site.home / "keys").iterdir()} == {0o600}

    again = site.good("points", "list", "--json").document["points"]
    assert [(each["id"], each["rung"]) for each in again] == [(each["id"], each["rung"]) for each in points]
    assert site.good("drill", "list", "--json").document["drills"] == drills
    site.good("evidence", "verify", "--stores")
    target = site.folder / "back"
    site.good("restore", "registry/scans", "--to", str(target), "--key", str(key))
    assert contents(target / str(site.scans).lstrip("/")) == contents(site.scans)

    forget_what_agents_remember(site)
    (backup,) = site.good("backup", "registry/scans", "--json").document["backups"]
    assert backup["point"]["new_bytes"] < 1 << 20  # the canary and its neighbours; not the map
    site.good("drill", "run", "registry")
    site.good("evidence", "verify", "--stores")


def test_a_catalog_that_is_whole_is_never_replaced(site: Site) -> None:
    site.good("backup", "--all")
    before = (site.home / "catalog.sqlite").read_bytes()
    for words in ((), ("--apply",)):
        answer = site.run("vault", "rebuild", *words)
        assert answer.code == 2
        assert "is whole" in answer.err
    assert (site.home / "catalog.sqlite").read_bytes() == before


def test_a_lost_or_damaged_catalog_comes_back_with_the_homes_own_keys(site: Site) -> None:
    site.good("backup", "--all")
    points = site.good("points", "list", "--json").document["points"]
    (site.home / "catalog.sqlite").unlink()
    lost = site.run("points", "list")
    assert lost.code == 1
    assert "drbackup vault rebuild" in lost.err
    site.good("vault", "rebuild", "--apply")
    assert site.good("points", "list", "--json").document["points"] == points
    for ruin in (b"rats have been here" * 1000, b""):
        (site.home / "catalog.sqlite").write_bytes(ruin)
        site.good("vault", "rebuild", "--apply")
        assert site.good("points", "list", "--json").document["points"] == points
    assert list(site.home.glob("catalog.sqlite.damaged-*"))


def test_a_wrong_or_missing_key_exits_12_and_writes_nothing(bare: Site) -> None:
    site = bare
    site.found()
    site.good("backup", "registry/scans")
    shutil.rmtree(site.home)
    assert site.run("vault", "rebuild", "--apply").code == 12
    wrong = site.folder / "wrong.key"
    wrong.write_text(secrets.token_hex(32))
    assert site.run("vault", "rebuild", "--recovery-key", str(wrong), "--apply").code == 12
    assert not site.home.exists()
    (site.home / "keys").mkdir(parents=True)
    (site.home / "keys" / "catalog.key").write_text(secrets.token_hex(32))
    assert site.run("vault", "rebuild", "--apply").code == 12
    assert not (site.home / "catalog.sqlite").exists()


def test_a_vault_that_is_not_the_printed_one_is_refused(site: Site) -> None:
    public = site.good("keys", "show", "--json").document["vaults"][0]["evidence_key"]
    (site.home / "catalog.sqlite").unlink()
    assert site.run("vault", "rebuild", "--evidence-key", "00" * 32, "--apply").code == 1
    assert not (site.home / "catalog.sqlite").exists()
    site.good("vault", "rebuild", "--evidence-key", public, "--apply")


def test_damage_is_named_and_the_rest_is_rebuilt_with_exit_3(site: Site) -> None:
    site.good("backup", "--all")
    record = sorted((site.folder / "store" / "v1" / "r").rglob("*-*"))[0]
    record.chmod(0o600)
    record.write_bytes(record.read_bytes()[:-1] + b"?")
    (site.home / "catalog.sqlite").unlink()
    answer = site.run("vault", "rebuild", "--apply", "--json")
    assert answer.code == 3
    assert answer.document["points"] == 1
    assert record.name in answer.document["faults"][0]["name"]
    assert len(site.good("points", "list", "--json").document["points"]) == 1


def test_a_store_that_was_away_is_given_the_vault_and_the_sealed_keys(bare: Site) -> None:
    site = bare
    shares = site.found()
    shutil.rmtree(site.folder / "store" / "v1" / "c")  # as in a vault of before
    assert "drbackup keys seal" in site.good("check", "--no-agents").out
    assert site.good("keys", "seal", "--json").document == {"written": ["offsite"], "had": []}
    assert site.good("keys", "seal", "--json").document == {"written": [], "had": ["offsite"]}
    assert "drbackup keys seal" not in site.good("check", "--no-agents").out
    shutil.rmtree(site.home)
    site.good("vault", "rebuild", "--recovery-key", str(join(site, shares)), "--apply")
    site.good("backup", "registry/scans")


def test_lost_keys_alone_come_back_and_the_catalog_is_left_alone(bare: Site) -> None:
    site = bare
    shares = site.found()
    site.good("backup", "registry/scans")
    key = join(site, shares)
    before = (site.home / "keys" / "evidence.key").read_text()
    shutil.rmtree(site.home / "keys")
    site.good("vault", "rebuild", "--recovery-key", str(key), "--apply")
    assert (site.home / "keys" / "evidence.key").read_text() == before
    (site.home / "keys" / "domains.key").unlink()
    site.good("vault", "rebuild", "--recovery-key", str(key), "--apply")
    assert len(site.good("points", "list", "--json").document["points"]) == 1
    site.good("backup", "registry/scans")
