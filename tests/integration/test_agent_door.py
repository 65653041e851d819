"""Whatever the controller wants of an agent, the same agent file must answer, within the same limits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from drbackup import __version__
from drbackup.controller.home.installation import Installation
from drbackup.controller.restore.recovery_plan import plan_recovery, preflight
from drbackup.controller.restore.restore import choose_point
from drbackup.controller.runs.agent import TEMPORARY_AGENT, agent_access
from drbackup.errors import AgentVersionMismatch, Interrupted, UsageError
from drbackup.fleet import session
from drbackup.fleet.channel import Channel
from drbackup.fleet.deployed import Deployed, remember
from drbackup.fleet.greeting import Expected
from drbackup.fleet.session import Timeouts
from drbackup.wire.specs import FolderTarget
from tests.support.cities.small_city import AGENT, SOURCE, SYSTEM, SmallCity
from tests.support.runs import restore_point, run_backup, run_drill, run_recovery, wall

DRILL = f"drill: {{every: week, on: {AGENT}, checks: [{{source: {SOURCE}, files: match}}]}}\n"
WORKS = ("backup", "restore", "drill", "preflight")


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A city with a point, whose agent is slow to answer and is given the time."""
    city = SmallCity(tmp_path, module="drbackup_agent", sandbox=str(tmp_path / "sandbox"), extra=DRILL).build()
    inventory = city.policies / "inventory.yaml"
    entry = "transport: local, connect_timeout: 90s, stall_timeout: 7m"
    inventory.write_text(inventory.read_text().replace("transport: local", entry))
    with city.open() as opened:
        run_backup(opened, SYSTEM, SOURCE)
        yield opened


def asked(installation: Installation, out: Path) -> dict[str, Callable[[], object]]:
    """Everything that opens a session with the city's agent, by its name in WORKS."""
    point = choose_point(installation.catalog, SYSTEM, SOURCE)
    return {
        "backup": lambda: run_backup(installation, SYSTEM, SOURCE),
        "restore": lambda: restore_point(installation, point, agent=AGENT, target=FolderTarget(str(out))),
        "drill": lambda: run_drill(installation, SYSTEM),
        "preflight": lambda: preflight(installation, plan_recovery(installation)),
    }


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Timeouts, Expected]]:
    """What every session from now on was given: its limits, and the agent that had to answer."""
    heard: list[tuple[Timeouts, Expected]] = []

    class Recorded(session.AgentSession):
        def __init__(self, channel: Channel, timeouts: Timeouts, *, stop: threading.Event | None = None) -> None:
            super().__init__(channel, timeouts, stop=stop)
            self._given = timeouts

        def judge(self, expected: Expected) -> int:
            heard.append((self._given, expected))
            return super().judge(expected)

    monkeypatch.setattr(session, "AgentSession", Recorded)
    return heard


@pytest.mark.parametrize("work", WORKS)
def test_every_session_has_the_inventorys_limits_and_the_deployed_agent(
    installation: Installation, sessions: list[tuple[Timeouts, Expected]], tmp_path: Path, work: str
) -> None:
    remember(installation.home, AGENT, Deployed(__version__, "", "/opt/drbackup-agent/current", "", ""))
    asked(installation, tmp_path / "out")[work]()
    limits = Timeouts(hello=100.0, stall=420.0, clock_skew=timedelta(seconds=30))
    assert sessions
    assert set(sessions) == {(limits, Expected(__version__))}


@pytest.mark.parametrize("work", ["backup", "restore"])
def test_a_foreign_agent_file_is_given_no_work(installation: Installation, tmp_path: Path, work: str) -> None:
    remember(installation.home, AGENT, Deployed(__version__, "cd" * 32, "/opt/drbackup-agent/current", "", ""))
    with pytest.raises(AgentVersionMismatch, match="not the deployed one"):
        asked(installation, tmp_path / "out")[work]()


def test_a_drill_on_a_foreign_agent_file_was_not_run(installation: Installation) -> None:
    remember(installation.home, AGENT, Deployed(__version__, "cd" * 32, "/opt/drbackup-agent/current", "", ""))
    outcome = run_drill(installation, SYSTEM)
    assert not outcome.verdict.proves
    assert any("AgentVersionMismatch" in reason.seen for reason in outcome.reasons)


def test_a_preflight_refuses_a_foreign_agent_file(installation: Installation) -> None:
    remember(installation.home, AGENT, Deployed(__version__, "cd" * 32, "/opt/drbackup-agent/current", "", ""))
    (line,) = [each for each in preflight(installation, plan_recovery(installation)) if each.what.startswith("host")]
    assert not line.good
    assert "not the deployed one" in line.said
    (version,) = [each for each in agent_access(installation, AGENT).check(wall) if each.name == "version"]
    assert version.ok is False


def test_a_temporary_agent_has_our_own_code_whatever_was_deployed_under_its_name(
    installation: Installation, sessions: list[tuple[Timeouts, Expected]], tmp_path: Path
) -> None:
    remember(
        installation.home, TEMPORARY_AGENT, Deployed(__version__, "cd" * 32, "/opt/drbackup-agent/current", "", "")
    )
    point = choose_point(installation.catalog, SYSTEM, SOURCE)
    assert restore_point(installation, point, target=FolderTarget(str(tmp_path / "out"))).files == 2
    assert [expected for _, expected in sessions] == [Expected(__version__)]


def test_an_unknown_agent_is_named(installation: Installation) -> None:
    with pytest.raises(UsageError, match="nobody"):
        agent_access(installation, "nobody")


def test_a_recovery_that_is_stopped_before_its_preflight_reaches_no_agent(installation: Installation) -> None:
    stop = threading.Event()
    stop.set()

    def connect(*_about: object) -> Channel:
        raise AssertionError("an agent was started")

    with pytest.raises(Interrupted):
        run_recovery(installation, plan_recovery(installation), stop=stop, connect=connect)
