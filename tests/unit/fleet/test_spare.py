"""An agent started ahead of time is taken by who needs exactly it, and otherwise leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from drbackup.fleet.local import LocalChannel
from drbackup.fleet.session import AgentSession, Timeouts
from drbackup.fleet.spare import SpareAgent, may_fit
from drbackup.model.inventory import AgentEntry, Inventory

INVENTORY = Inventory.model_construct(agents={}, stores={})
HERE = AgentEntry(transport="local")


def pid_of(channel: object) -> int:
    assert isinstance(channel, LocalChannel)
    return channel.pid


@contextmanager
def spare_agent() -> Iterator[tuple[SpareAgent, int]]:
    """With the pid of the one that waits."""
    before = set(psutil.Process().children())
    with SpareAgent() as spare:
        (waiting,) = set(psutil.Process().children()) - before
        yield spare, waiting.pid


def test_the_one_who_needs_exactly_it_gets_it_once() -> None:
    with spare_agent() as (spare, waiting):
        first = spare.connect("db1", HERE, INVENTORY)
        second = spare.connect("db2", HERE, INVENTORY)
        try:
            assert (pid_of(first), first.host) == (waiting, "db1")
            assert pid_of(second) != pid_of(first)
            assert AgentSession(first, Timeouts()).greet().version
        finally:
            first.close()
            second.close()


def test_another_state_folder_is_another_agent(tmp_path: Path) -> None:
    entry = AgentEntry(transport="local", state_folder=str(tmp_path))
    with spare_agent() as (spare, spared):
        channel = spare.connect("db1", entry, INVENTORY)
        channel.close()
    assert pid_of(channel) != spared
    assert not psutil.pid_exists(spared)


def test_an_unused_one_is_ended() -> None:
    with spare_agent() as (_, pid):
        pass
    assert not psutil.pid_exists(pid)


def test_a_dead_one_is_not_handed_out() -> None:
    with spare_agent() as (spare, dead):
        os.kill(dead, 9)
        os.waitid(os.P_PID, dead, os.WEXITED | os.WNOWAIT)
        channel = spare.connect("db1", HERE, INVENTORY)
        channel.close()
        assert pid_of(channel) != dead


def test_none_is_started_where_none_would_be_taken(tmp_path: Path) -> None:
    assert not may_fit(tmp_path)
    (tmp_path / "inventory.yaml").write_text("agents: {db1: {transport: ssh}}")
    assert not may_fit(tmp_path)
    (tmp_path / "inventory.yaml").write_text("agents: {db1: {transport: local, state_folder: /srv/agent}}")
    assert not may_fit(tmp_path)
    (tmp_path / "inventory.yaml").write_text("agents: {db1: {transport: local}}")
    assert may_fit(tmp_path)
