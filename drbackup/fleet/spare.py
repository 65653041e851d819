"""A local agent that is started before a session needs it, to save time.

A command that will most likely need a child agent loads policies and catalog for its first half second. The agent needs
as long to load its own code. When it is started first, both happen at the same time. A spare agent that no session can
use is ended: it has read no job, so it has done nothing.
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

_INVENTORY, _LOCAL, _OF_ITS_OWN = "inventory.yaml", b"local", b"state_folder"


def may_fit(policies_folder: Path) -> bool:
    """Whether the inventory may have a local agent that a spare one fits: one with the usual state folder.

    Only the file's bytes are searched, because to parse it takes half of the time to be saved. A wrong guess costs an
    unused process, or the time that one would have saved.
    """
    try:
        text = (policies_folder / _INVENTORY).read_bytes()
    except OSError:
        return False
    return _LOCAL in text and _OF_ITS_OWN not in text


class SpareAgent:
    """At most one waiting child process. Thread-safe. The end of the ``with`` block ends an unused one."""

    def __init__(self, environment: Mapping[str, str] | None = None, *, wanted: bool = True) -> None:
        """``environment`` is that of :func:`drbackup.fleet.local.open_channel`.

        Only an agent that needs exactly this environment is given the spare. With ``wanted`` false, none is started.
        """
        self._environment = dict(environment or {})
        self._mutex = threading.Lock()
        self._channel: local.LocalChannel | None = None
        self._leaving: threading.Thread | None = None
        if wanted:
            try:
                self._channel = local.open_channel("spare", local.OWN_AGENT, self._environment)
            except AgentMissing:
                self._channel = None  # the session that needs an agent will try again and raise this

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._dismiss()
        if self._leaving is not None:
            self._leaving.join()

    def _dismiss(self) -> None:
        """Ends an unused spare, in a thread of its own."""
        with self._mutex:
            unused, self._channel = self._channel, None
            if unused is not None:
                self._leaving = threading.Thread(target=unused.close, args=(1.0,), name="spare")
                self._leaving.start()

    def connect(self, name: str, entry: AgentEntry, inventory: Inventory) -> Channel:
        """The spare's channel when it is what ``entry`` asks for, else a newly opened one.

        Raises the errors of :func:`drbackup.fleet.connect.open_channel`.
        """
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
        if not fits:  # most likely it won't fit the next one either, and must not wait during a run of hours
            self._dismiss()
        return connect.open_channel(name, entry, inventory)
