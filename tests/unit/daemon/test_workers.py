"""How many runs at once, and where."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drbackup.controller.catalog.runs import Run, RunKind
from drbackup.controller.home.installation import Installation
from drbackup.daemon import workers
from drbackup.daemon.workers import Workers
from drbackup.errors import StoreFull
from tests.support.cities.small_city import SYSTEM, SmallCity

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECOND_SOURCE = "  - {name: more, agent: db1.bureau, canary: false, files: {paths: [/srv]}}\n"


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    city = SmallCity(tmp_path).build()
    file = city.policies / f"{SYSTEM}.yaml"
    head, found, tail = file.read_text().partition("schedule:")
    file.write_text(head + SECOND_SOURCE + found + tail)
    with city.open() as opened:
        yield opened


class Backups:
    """In the place of the runner: each run waits until it is let go."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go = threading.Event()

    def __call__(
        self, _installation: Installation, _system: str, source: str, *_options: object, **_more: object
    ) -> object:
        self.begun.append(source)
        assert self.go.wait(30)
        raise StoreFull("no room")


def due(installation: Installation) -> list[Run]:
    runs = installation.catalog.runs
    return [runs.get(runs.add(RunKind.BACKUP, SYSTEM, source, due=NOW, now=NOW)) for source in ("scans", "more")]


@pytest.mark.parametrize(("per_agent", "at_once"), [(1, 1), (2, 2)])
def test_an_agent_is_given_no_more_runs_at_once_than_it_may_have(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, per_agent: int, at_once: int
) -> None:
    backups = Backups()
    monkeypatch.setattr(workers, "run_backup", backups)
    hands = Workers(installation, 4, lambda: NOW, per_agent)
    ready = due(installation)
    assert len(hands.start_due(ready)) == at_once
    assert hands.start_due(ready) == []  # those under way are not started again, the other one waits
    backups.go.set()
    while hands.active:
        hands.wait(30)
    assert len(backups.begun) == at_once
    assert hands.failed == at_once
    hands.stop()


def test_no_more_runs_at_once_than_hands(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    backups = Backups()
    monkeypatch.setattr(workers, "run_backup", backups)
    hands = Workers(installation, 1, lambda: NOW, per_agent=5)
    assert len(hands.start_due(due(installation))) == 1
    backups.go.set()
    hands.stop()
    assert hands.active == 0
