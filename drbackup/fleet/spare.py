"""A local agent that is started before anybody has asked for it.

A command that will most likely need a child agent spends its first half second loading policies and catalog; the agent
spends as much loading its own code. Started first, both happen at the same time. A spare that fits nothing is ended
unused: it has read no job, so it has done nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from drbackup.errors import AgentMissing
from drbackup.fleet import local
from drbackup.fleet.channel import Channel

if TYPE_CHECKING:
    from drbackup.model.inventory import AgentEntry, Inventory

_INVENTORY, _LOCAL = "inventory.yaml", b"local"


def mentions_local(policies_folder: Path) -> bool:
    """Whether the inventory may hold a local agent: a look at its bytes, because parsing it is half of what we wait
    for. A wrong guess costs a spare, or the time one would have saved."""
    try:
        return _LOCAL in (policies_folder / _INVENTORY).read_bytes()
    except OSError:
        return False


class SpareAgent:
    """At most one waiting child process. Thread-safe. Leaving the ``with`` block ends one that nobody took."""

    def __init__(self, environment: Mapping[str, str] | None = None, *, wanted: bool = True) -> None:
        """``environment``: as :func:`drbackup.fleet.local.open_channel` takes it; only an agent that needs exactly
        this one may take the spare. Not ``wanted``: none is started."""
        self._environment = dict(environment or {})
        self._mutex = threading.Lock()
        self._channel: local.LocalChannel | None = None
        self._leaving: threading.Thread | None = None
        if wanted:
            try:
                self._channel = local.open_channel("spare", local.OWN_AGENT, self._environment)
            except AgentMissing:
                self._channel = None  # whoever needs an agent will try again and say so

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._dismiss()
        if self._leaving is not None:
            self._leaving.join()

    def _dismiss(self) -> None:
        """End an unused spare, beside whatever else goes on."""
        with self._mutex:
            unused, self._channel = self._channel, None
            if unused is not None:
                self._leaving = threading.Thread(target=unused.close, args=(1.0,), name="spare")
                self._leaving.start()

    def connect(self, name: str, entry: AgentEntry, inventory: Inventory) -> Channel:
        """The spare when it is what ``entry`` asks for, else :func:`drbackup.fleet.connect.open_channel`."""
        from drbackup.fleet import connect

        fits = (
            entry.transport == "local"
            and connect.agent_command(entry) == local.OWN_AGENT
            and connect.local_environment(entry) == self._environment
        )
        with self._mutex:
            if fits and self._channel is not None and self._channel.exit_status() is None:
                taken, self._channel = self._channel, None
                taken.host = name
                return taken
        if not fits:  # nor will it fit the next one, most likely: it shall not sit there for a run of hours
            self._dismiss()
        return connect.open_channel(name, entry, inventory)
