"""What every command shares: where the installation is, how to print, what time it is.

Owns the installation, which is opened at first use, and the one result document of ``--json``. A command shows its
result through :meth:`CliContext.show` exactly once. It never prints to stdout by other means.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
from rich.console import Console, RenderableType
from rich.text import Text

from drbackup.cli.json_rows import JsonRows, indented
from drbackup.reports.gettext import _
from drbackup.reports.layout import unbroken

if TYPE_CHECKING:
    from drbackup.controller.home.installation import Installation
    from drbackup.controller.home.policies import PolicySet
    from drbackup.reports.tables import View

JsonObject = dict[str, Any]


def default_home() -> Path:
    """The default home: DRBACKUP_HOME, else ``/var/lib/drbackup`` for root, else ``drbackup`` in XDG's state folder."""
    if named := os.environ.get("DRBACKUP_HOME"):
        return Path(named)
    if os.geteuid() == 0:
        return Path("/var/lib/drbackup")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "drbackup"


def default_policies() -> Path:
    """The default policy folder: DRBACKUP_POLICIES, else ``/etc/drbackup/policies``."""
    return Path(os.environ.get("DRBACKUP_POLICIES") or "/etc/drbackup/policies")


_ENDLESS = 2000  # columns, where stdout is no terminal


@dataclass
class CliContext:
    """The state of one command's run."""

    home: Path = field(default_factory=default_home)
    policies_folder: Path = field(default_factory=default_policies)
    json: bool = False  # print one JSON document instead of text
    log_level: str = "warning"  # debug, info, warning, error
    log_format: str = "console"  # console, json, journald
    document: JsonObject | None = None  # the result, None until it was shown
    _warned_of: set[str] = field(default_factory=set)  # broken files that were named on stderr

    def now(self) -> datetime:
        """The present instant, aware UTC: the clock that commands hand to the controller."""
        return datetime.now(UTC)

    def installation(self) -> Installation:
        """The opened installation, with the policies that can be read. Each broken file is named on stderr, once.

        It is for commands that read data or bring it back, or that ask for each system's policy by name.
        Raises :class:`~drbackup.errors.VaultMissing` when there is none in ``home``.
        """
        opened = self._installation
        self.warn_of_broken(opened.policies)
        return opened

    def whole_installation(self) -> Installation:
        """The opened installation, for commands that must know every policy.

        Raises :class:`~drbackup.errors.PolicyError` when a file is broken, and what :meth:`installation` raises.
        """
        self._installation.policies.require_whole()
        return self._installation

    def warn_of_broken(self, policies: PolicySet) -> None:
        """One line on stderr for each broken file that this command has not named yet."""
        if not policies.broken:
            return
        from drbackup.cli.policy_warnings import warning_of

        for broken in policies.broken:
            if broken.file in self._warned_of:
                continue
            self._warned_of.add(broken.file)
            line = Text(_("warning: "), style="bold yellow").append(warning_of(broken), style="yellow")
            self.err.print(line, soft_wrap=True)

    @cached_property
    def _installation(self) -> Installation:
        from drbackup.controller.home.installation import Installation
        from drbackup.system.memory import keep_freed_memory, relax_gc

        keep_freed_memory()
        relax_gc()
        return Installation.open(self.home, self.policies_folder, broken_policies=True)

    def close(self) -> None:
        """The installation is closed, if it was opened. SQLite then leaves no write-ahead log beside the catalog.

        A log that stays behind could be taken for the log of a later catalog.
        """
        if "_installation" in self.__dict__:
            self._installation.close()

    def zone(self) -> tzinfo:
        """The inventory's time zone, in which a person reads every time; UTC where this machine does not know it."""
        inventory = self.installation().policies.inventory
        try:
            return ZoneInfo(inventory.time_zone)
        except (ZoneInfoNotFoundError, ValueError):
            return UTC

    def view(self) -> View:
        """What a list is drawn for: the present instant, the inventory's zone, this screen's width in columns."""
        from drbackup.reports.tables import View

        return View(self.now(), self.zone(), self.console.width)

    @cached_property
    def console(self) -> Console:
        """The console on stdout, for the result and nothing else."""
        return console_for(sys.stdout.isatty())

    @cached_property
    def err(self) -> Console:
        """The console on stderr, for progress, warnings and errors."""
        return console_for(sys.stderr.isatty(), stderr=True)

    def show(self, document: JsonObject, *renderables: RenderableType) -> None:
        """The command's result: with ``--json`` ``document``, printed at the end; else the renderables, printed now."""
        self.document = document
        if not self.json:
            for renderable in renderables:
                whole = isinstance(renderable, Text) and unbroken(renderable, self.console.width)
                self.console.print(renderable, soft_wrap=whole)


def console_for(terminal: bool, *, stderr: bool = False) -> Console:
    """A console as wide as the terminal; without one, 2000 columns, so that COLUMNS cuts no line of a pipe."""
    width = None if terminal else _ENDLESS
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=False)


def print_document(document: JsonObject) -> None:
    """The one JSON document of a ``--json`` run, printed on stdout."""
    for number, (name, value) in enumerate(document.items()):
        sys.stdout.write(",\n  " if number else "{\n  ")
        sys.stdout.write(f"{json.dumps(name, ensure_ascii=False)}: ")
        if isinstance(value, JsonRows):
            value.write_to(sys.stdout)
        else:
            sys.stdout.write(indented(value, 2))
    sys.stdout.write("\n}\n" if document else "{}\n")
    sys.stdout.flush()


pass_cli = click.make_pass_decorator(CliContext)
