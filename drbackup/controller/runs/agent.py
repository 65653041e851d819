"""The only way the controller opens a session with an agent: for backups, restores, drills, preflights and checks.

What every session must have is decided here and nowhere else. That is which agent file must answer, how long each step
may take, whether bytes pass through the session, and how it is stopped. import-linter refuses any other caller.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from datetime import datetime
from pathlib import Path
from typing import Protocol, overload

import msgspec

from drbackup.errors import Interrupted
from drbackup.fleet.answers import RequestHandler
from drbackup.fleet.channel import Channel
from drbackup.fleet.check import CheckLine, check_agent
from drbackup.fleet.connect import open_channel, session_timeouts
from drbackup.fleet.deployed import expected
from drbackup.fleet.greeting import Expected
from drbackup.fleet.session import Timeouts, run_session
from drbackup.model.inventory import AgentEntry, Inventory
from drbackup.system.instants import to_ns
from drbackup.wire.messages import (
    BackupJob,
    BackupResult,
    DrillJob,
    DrillResult,
    Job,
    PreflightJob,
    PreflightResult,
    RestoreJob,
    RestoreResult,
    Result,
)

Connector = Callable[[str, AgentEntry, Inventory], Channel]
_LOOK_SECONDS = 0.25  # between two checks for a stop while connecting
TEMPORARY_AGENT = "local"  # the name of a child process without an inventory entry


class Centre(Protocol):
    """The part of an installation that is needed to reach its agents."""

    home: Path

    @property
    def inventory(self) -> Inventory: ...

    def agent(self, name: str) -> AgentEntry:
        """The inventory's entry. Raises :class:`~drbackup.errors.UsageError` for an unknown name."""
        ...


class AgentAccess(msgspec.Struct, frozen=True):
    """The access to one agent, the same for every session of the controller. Thread-safe."""

    name: str  # the inventory's, or TEMPORARY_AGENT
    entry: AgentEntry
    inventory: Inventory
    home: Path  # holds the note of which agent file was deployed
    temporary: bool  # a child process of our own code, which nobody deploys
    connect: Connector

    @property
    def relay(self) -> bool:
        """Whether the agent's packs pass through the session, because its host has no route to the stores."""
        return self.entry.route == "tunnel"

    @property
    def timeouts(self) -> Timeouts:
        """A session's limits, from the inventory."""
        return session_timeouts(self.entry, self.inventory)

    @property
    def expected(self) -> Expected | None:
        """The agent file that must answer. None when none was deployed from here; then any of our own version may.

        Raises :class:`~drbackup.errors.CatalogUnusable` when the note of what was deployed can't be read.
        """
        return None if self.temporary else expected(self.home, self.name)

    @overload
    def run(self, job: BackupJob, handler: RequestHandler, stop: threading.Event | None) -> BackupResult: ...
    @overload
    def run(self, job: RestoreJob, handler: RequestHandler, stop: threading.Event | None) -> RestoreResult: ...
    @overload
    def run(self, job: DrillJob, handler: RequestHandler, stop: threading.Event | None) -> DrillResult: ...
    @overload
    def run(self, job: PreflightJob, handler: RequestHandler, stop: threading.Event | None) -> PreflightResult: ...
    def run(self, job: Job, handler: RequestHandler, stop: threading.Event | None) -> Result:
        """The agent's result of ``job``, whose type fits the job's. ``handler`` answers the agent's requests meanwhile.

        When ``stop`` is set, the agent is cancelled and :class:`~drbackup.errors.Interrupted` raised. Raises the errors
        of :func:`drbackup.fleet.session.run_session` and of connecting.
        """
        wanted = self.expected
        channel = self._open() if stop is None else self._open_unless(stop)  # run_session closes it in every case
        return run_session(channel, job, handler, self.timeouts, expected=wanted, stop=stop)

    def check(self, now: Callable[[], datetime]) -> tuple[CheckLine, ...]:
        """The results of all checks of the agent, in the order of a run. No fault of agent or network raises.

        ``now``: the controller's clock, which the agent's is compared with.
        """
        local = self.entry.transport == "local"
        return check_agent(self._open, lambda: self.expected, self.timeouts, lambda: to_ns(now()), local=local)

    def _open(self) -> Channel:
        return self.connect(self.name, self.entry, self.inventory)

    def _open_unless(self, stop: threading.Event) -> Channel:
        """The channel. Raises :class:`~drbackup.errors.Interrupted` soon after ``stop`` is set.

        So a host that does not answer delays nobody until its timeouts are over. If it answers later, the channel is
        closed at once.
        """
        if stop.is_set():
            raise Interrupted("the work was stopped before an agent was at it", host=self.name)
        opening: Future[Channel] = Future()
        threading.Thread(target=_resolve, args=(opening, self._open), name=f"connect {self.name}", daemon=True).start()
        try:
            while not wait([opening], timeout=_LOOK_SECONDS).done:
                if stop.is_set():
                    raise Interrupted("the work was stopped before an agent was at it", host=self.name)
        except BaseException:
            opening.add_done_callback(_hang_up)
            raise
        return opening.result()


def _resolve(opening: Future[Channel], connect: Callable[[], Channel]) -> None:
    try:
        opening.set_result(connect())
    except BaseException as failure:  # noqa: BLE001 — any error is raised by the thread that waits for it
        opening.set_exception(failure)


def _hang_up(opening: Future[Channel]) -> None:
    if opening.exception() is None:
        opening.result().close()


def agent_access(centre: Centre, name: str, connect: Connector | None = None) -> AgentAccess:
    """The access to an agent of the inventory; for the empty name, to a temporary one on this machine.

    ``connect``: another way to its process than the inventory's. Raises :class:`~drbackup.errors.UsageError` for an
    unknown name.
    """
    connect = connect or open_channel
    if name:
        return AgentAccess(name, centre.agent(name), centre.inventory, centre.home, False, connect)
    entry = AgentEntry(transport="local", state_folder=str(centre.home / "agent"))
    return AgentAccess(TEMPORARY_AGENT, entry, centre.inventory, centre.home, True, connect)
