"""What a tired operator types at three in the morning: each mistake says what failed, what is safe, what to do next."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cities.site import Site

# words, exit code, what failed, what to do next
MISTAKES = [
    ("backup regisrty", 2, "no system 'regisrty'", "did you mean registry?"),
    ("backup registry/scan", 2, "has no source 'scan'", "did you mean scans?"),
    ("backup", 2, "name systems", "see the command's --help"),
    ("restore registry --to {new}", 2, "registry is a system, not a point", "registry/register or registry/scans"),
    ("restore deadbeef --to {new}", 2, "no recovery point deadbeef", "drbackup points list"),
    ("restore registry/scans", 2, "say where to", "--help"),
    ("restore registry/scans --to {new} --key {full}/papers", 2, "{full}/papers", "drill key"),
    ("restore registry/scans --to {new} --key {new}", 2, "does not exist", "drbackup restore --help"),
    ("restore registry/scans --to {full} --key {key}", 1, "{full}", "--replace"),
    ("restore registry/scans --at yesterday --to {new}", 2, "not a time", "2026-11-23T14:00"),
    ("statsu", 2, "No such command", "did you mean: drbackup status"),
    ("points lst", 2, "No such command", "did you mean: drbackup points list"),
    ("points diff deadbeef", 2, "AFTER", "drbackup points diff --help"),
    ("backup --al", 2, "--al", "did you mean: drbackup backup --all"),
    ("drill run regisrty", 2, "no system 'regisrty'", "did you mean registry?"),
    ("drill show nosuch", 2, "no drill begins with 'nosuch'", "drbackup drill list"),
    ("recover regisrty", 2, "no system 'regisrty'", "did you mean registry?"),
    ("agents check db2", 2, "no agent 'db2'", "did you mean 'db1'?"),
    ("store probe ofsite", 2, "no store 'ofsite'", "did you mean offsite?"),
    ("vault scrub ofsite", 2, "no store 'ofsite'", "did you mean offsite?"),
    ("report month 2999-01", 2, "no month to report", "like 2026-11"),
    ("keys combine {full}/papers --to {new}", 2, "holds no share's words", "share-N-of-M.txt"),
    ("init", 2, "there is an installation in", "drbackup status"),
    ("--home {new} status", 10, "there is no installation in {new}", "--home or DRBACKUP_HOME"),
    ("--policies {new} status", 2, "there is no policy folder {new}", "--policies or DRBACKUP_POLICIES"),
]


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("occupied")
    (folder / "papers").write_text("1234 5678", encoding="utf-8")
    return folder


@pytest.mark.parametrize("mistake", MISTAKES, ids=[words for words, *_ in MISTAKES])
def test_a_mistake_is_explained(health: Site, full: Path, tmp_path: Path, mistake: tuple[str, int, str, str]) -> None:
    words, code, failed, then = mistake
    places = {"full": full, "new": tmp_path / "new", "key": health.drill_key}
    answer = health.run(*words.format(**places).split())
    assert answer.code == code, answer.err
    lines = dict(line.split(": ", 1) for line in answer.err.splitlines() if ": " in line)
    assert failed.format(**places) in lines["failed"]
    assert then in lines["next"]
    assert lines["still safe"]
    assert not (tmp_path / "new").exists() or not any((tmp_path / "new").iterdir())
    assert (full / "papers").read_text(encoding="utf-8") == "1234 5678"
