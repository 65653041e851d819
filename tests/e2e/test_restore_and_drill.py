"""Backup → loss → restore → compare, and drills that prove or refuse to prove it, by the real command."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.support.cities.site import Site


def contents(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Relative path → SHA-256, mode, modification time."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mode,
            path.stat().st_mtime_ns,
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def rows(file: Path) -> list[tuple[int, str]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute("select * from enterprise order by id").fetchall()


def test_files_burnt_come_back_as_they_were(site: Site) -> None:
    site.good("backup", "--all")
    before = contents(site.scans)
    shutil.rmtree(site.scans)
    plan = site.good("restore", "registry/scans", "--in-place")
    assert "Nothing was changed" in plan.out
    assert not site.scans.exists()
    site.good("restore", "registry/scans", "--in-place", "--apply")
    assert contents(site.scans) == before


def test_a_register_comes_back_to_another_file_and_to_its_own(site: Site) -> None:
    before = rows(site.register)
    site.good("backup", "registry/register")
    copy = site.folder / "copy.db"
    site.good("restore", "registry/register", "--database", str(copy), "--apply")
    assert rows(copy) == before
    with closing(sqlite3.connect(site.register)) as connection, connection:
        connection.execute("delete from enterprise")
    refused = site.run("restore", "registry/register", "--in-place", "--apply")
    assert refused.code == 1
    assert rows(site.register) == []
    site.good("restore", "registry/register", "--in-place", "--replace", "--apply")
    assert rows(site.register) == before


def test_one_file_of_an_older_point_is_restored_alone(site: Site) -> None:
    site.good("backup", "registry/scans")
    first = site.good("points", "list", "--json").document["points"][0]["id"]
    (site.scans / "sub" / "章程.txt").write_text("改了\n", encoding="utf-8")
    site.good("backup", "registry/scans")
    target = site.folder / "one"
    inside = f"{site.scans}/sub/章程.txt".lstrip("/")
    site.good("restore", first[:12], "--path", inside, "--to", str(target))
    found = contents(target)
    assert list(found) == [inside]
    assert (target / inside).read_text(encoding="utf-8") == "第一条\n"
    changes = site.good("points", "diff", first[:12], "registry/scans", "--json").document["changes"]
    assert {"content"} == {each["how"] for each in changes if each["path"].endswith("章程.txt")}


def test_an_occupied_target_is_left_alone(site: Site) -> None:
    site.good("backup", "registry/scans")
    target = site.folder / "occupied"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    answer = site.run("restore", "registry/scans", "--to", str(target))
    assert answer.code == 1
    assert [path.name for path in target.iterdir()] == ["mine.txt"]


def test_a_wrong_key_exits_12_and_too_few_shares_too(bare: Site) -> None:
    site = bare
    shares = site.found()
    site.good("backup", "registry/scans")
    wrong = site.folder / "wrong.key"
    wrong.write_text(secrets.token_hex(32))
    answer = site.run("restore", "registry/scans", "--to", str(site.folder / "r"), "--key", str(wrong))
    assert answer.code == 12
    few = site.run("keys", "combine", "--to", str(site.folder / "few.key"), feed=shares[0] + "\n")
    assert few.code == 12
    assert not (site.folder / "few.key").exists()


def test_the_custodians_shares_open_what_the_drill_key_is_gone_for(bare: Site) -> None:
    site = bare
    shares = site.found()
    site.good("backup", "registry/scans")
    site.drill_key.unlink()
    target = site.folder / "back"
    assert site.run("restore", "registry/scans", "--to", str(target)).code == 12
    key = site.folder / "recovery.key"
    assert site.run("keys", "combine", "--to", str(key), feed="\n".join(shares[1:]) + "\n").code == 0
    assert key.stat().st_mode & 0o777 == 0o600
    site.good("restore", "registry/scans", "--to", str(target), "--key", str(key))
    assert contents(target / str(site.scans).lstrip("/")) == contents(site.scans)


def test_a_share_file_reads_back_and_its_code_is_ink_on_paper(bare: Site) -> None:
    folder = bare.folder / "shares"
    bare.good("init", "--custodians", "2-of-3", "--shares-folder", str(folder))
    files = sorted(folder.iterdir())
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600] * 3
    assert "█▀▀▀▀▀█" in files[0].read_text(encoding="utf-8")
    bare.good("keys", "combine", str(files[0]), str(files[2]), "--to", str(bare.folder / "recovery.key"))


def test_a_good_copy_passes_its_drill_and_leaves_evidence_and_a_page(site: Site) -> None:
    site.good("backup", "--all")
    (drill,) = site.good("drill", "run", "registry", "--json").document["drills"]
    assert drill["verdict"] == "passed"
    assert [check["passed"] for check in drill["checks"]] == [True] * 4
    assert Path(drill["report"]).read_text(encoding="utf-8").count("企业登记")
    assert site.good("points", "list", "--json").document["points"][0]["rung"] == "app-checked"
    shown = site.good("drill", "show", "registry", "--json").document["drill"]
    assert shown["id"] == drill["id"]
    assert site.good("drill", "list", "--json").document["drills"][0]["id"] == drill["id"]
    public = site.good("keys", "show", "--json").document["vaults"][0]["evidence_key"]
    site.good("evidence", "verify", str(site.home / "evidence"), "--public-key", public)
    statement = Path(drill["statement"])
    statement.write_bytes(statement.read_bytes().replace(b'"passed"', b'"failed"', 1))
    assert site.run("evidence", "verify", str(site.home / "evidence"), "--public-key", public).code == 1


def test_a_copy_that_is_not_what_the_policy_says_fails_its_drill_with_21(site: Site) -> None:
    with closing(sqlite3.connect(site.register)) as connection, connection:
        connection.execute("delete from enterprise where id > 400")
    site.good("backup", "--all")
    answer = site.run("drill", "run", "registry", "--json")
    assert answer.code == 21
    assert answer.document["drills"][0]["verdict"] == "failed"
    assert answer.document["error"]["code"] == "DrillFailed"
    needs = site.good("status", "--json").document["needs"]
    assert any(need["subject"] == "registry" and need["urgent"] for need in needs)


def test_a_drill_without_any_point_is_not_run_and_counts_as_failed(site: Site) -> None:
    answer = site.run("drill", "run", "registry", "--json")
    assert answer.code == 21
    assert answer.document["drills"][0]["verdict"] == "not-run"


def test_a_negative_drill_passes_because_it_finds_the_damage(site: Site) -> None:
    site.good("backup", "--all")
    assert site.good("drill", "run", "registry", "--negative", "--json").document["drills"][0]["verdict"] == "passed"


def test_a_flipped_byte_in_the_store_is_named_by_scrub(site: Site) -> None:
    site.good("backup", "--all")
    assert len(site.good("vault", "scrub", "--json").document["stores"][0]["proven"]) == 2
    pack = max((site.folder / "store").rglob("p/*"), key=lambda path: path.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(data)
    answer = site.run("vault", "scrub", "--json")
    assert answer.code == 1
    (damage,) = answer.document["stores"][0]["damages"]
    assert damage["name"].endswith(pack.name)
