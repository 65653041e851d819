"""The demo as a new user runs it: a city protected, burnt and brought back, with an honest end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from drbackup.cli.demo_city import city as city_module
from drbackup.cli.demo_city.city import City, differences
from drbackup.cli.demo_city.servers import postgres_tools
from tests.support.cities.site import Answer
from tests.support.services.capability import require


def demo(*words: str, **environment: str) -> Answer:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DRBACKUP_", "LC_", "LANG"))}
    done = subprocess.run(
        [sys.executable, "-m", "drbackup.cli.main", "demo", *words],
        capture_output=True,
        text=True,
        env={**kept, "LANG": "C.UTF-8", **environment},
        timeout=280,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def postmasters(folder: Path) -> list[Path]:
    return list(folder.rglob("postmaster.pid"))


@pytest.mark.parametrize("engine", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_the_city_burns_and_comes_back(engine: str, tmp_path: Path) -> None:
    if engine == "postgres":
        require("postgres", postgres_tools() is not None, "PostgreSQL's server programs are not installed")
    answer = demo("--engine", engine, "--folder", str(tmp_path / "city"), "--json")
    assert answer.code == 0, answer.err
    document = answer.document
    assert document["verdict"] == "good"
    assert document["engine"] == engine
    assert [step["good"] for step in document["steps"]] == [True] * 13
    assert Path(document["report"]).read_text(encoding="utf-8").count("企业基础信息库")
    assert document["seconds"] < 90
    assert postmasters(tmp_path) == []
    home = tmp_path / "city" / "home"
    statements = [json.loads(path.read_text(encoding="utf-8")) for path in home.glob("evidence/*/*.json")]
    kinds = {check["kind"] for statement in statements for check in statement.get("checks", ())}
    assert kinds == {"sql", "counts", "files", "across"}


def test_it_ends_with_a_table_a_verdict_and_what_to_look_at(tmp_path: Path) -> None:
    answer = demo("--engine", "sqlite", "--folder", str(tmp_path / "city"), DRBACKUP_LANG="zh_CN")
    assert answer.code == 0, answer.err
    assert "城市被烧毁又恢复了" in answer.out
    assert str(tmp_path / "city" / "report.html") in answer.out
    assert "$ drbackup recover --all" in answer.err


def test_an_occupied_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert demo("--folder", str(tmp_path)).code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_single_difference_is_seen(tmp_path: Path) -> None:
    """The comparison itself, on a city nobody backs up: a row, a byte, a time and a mode each tell."""
    town = City(tmp_path, None, enterprises=40, scanned=4)
    town.build()
    try:
        before = town.fingerprint()
        assert differences(before, town.fingerprint()) == []
        scan = next(path for path in sorted(town.scans.rglob("*.tif")))
        status = scan.stat()
        town.servers[city_module.BASE.system].execute("update enterprise set state = 'x' where reg_no like '%01'")
        scan.chmod(0o600)
        assert len(differences(before, town.fingerprint())) == 2
        scan.chmod(status.st_mode & 0o7777)
        os.utime(scan, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        assert len(differences(before, town.fingerprint())) == 2
        shutil.rmtree(town.network)
        assert len(differences(before, town.fingerprint())) == 7
    finally:
        town.tear_down()
