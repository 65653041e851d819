"""Nobody who wants to stop waits for a host that does not answer, and no process is left behind there."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from drbackup.controller.runs.agent import agent_access
from drbackup.errors import HostUnreachable, Interrupted
from drbackup.fleet import local
from drbackup.fleet.channel import Channel
from drbackup.model.inventory import AgentEntry, Inventory
from drbackup.wire.messages import PreflightJob
from tests.support.doubles.memory_handler import MemoryHandler, small_agent
from tests.support.poll import wait_until

INVENTORY = Inventory.model_validate(
    {
        "title": "City",
        "agents": {"db1": {"transport": "local"}},
        "stores": {"offsite": {"directory": {"path": "/srv/vault"}}},
    }
)


@dataclass
class City:
    inventory: Inventory
    home: Path

    def agent(self, name: str) -> AgentEntry:
        return self.inventory.agents[name]


def test_a_stop_is_heard_while_a_host_does_not_answer_and_what_it_answers_later_is_ended(tmp_path: Path) -> None:
    stop, answers = threading.Event(), threading.Event()
    late: list[local.LocalChannel] = []

    def connect(name: str, *_about: object) -> Channel:
        stop.set()
        assert answers.wait(60)
        late.append(local.open_channel(name, small_agent("quick")))
        return late[0]

    access = agent_access(City(INVENTORY, tmp_path), "db1", connect)
    with pytest.raises(Interrupted):
        access.run(PreflightJob(), MemoryHandler(), stop)
    assert not late
    answers.set()
    wait_until(lambda: late)
    assert late[0].exit_status(wait=60) is not None


def test_what_connecting_fails_with_is_raised_as_it_is(tmp_path: Path) -> None:
    def connect(*_about: object) -> Channel:
        raise HostUnreachable("no route")

    access = agent_access(City(INVENTORY, tmp_path), "db1", connect)
    for stop in (None, threading.Event()):
        with pytest.raises(HostUnreachable, match="no route"):
            access.run(PreflightJob(), MemoryHandler(), stop)
