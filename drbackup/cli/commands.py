"""The list of commands, and the options every command shares.

Owns the mapping from a command's name to the module with its code. A module is imported only when its command is used,
so that ``drbackup --help`` answers at once. A new command is one file and one line here.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click

from drbackup.cli.context import CliContext
from drbackup.system.logs import configure_libraries

# command → (module, attribute, one line of help); the order is the order of the help page
COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": ("drbackup.cli.init", "init", "Found an installation: keys, custodians' shares, vaults."),
    "check": ("drbackup.cli.check", "check", "Look at the whole installation, one line a check."),
    "status": ("drbackup.cli.status", "status", "Every system on one screen, and what needs a person."),
    "policy": ("drbackup.cli.policy", "policy", "Check, show and explain policies."),
    "agents": ("drbackup.cli.agents", "agents", "List, deploy and check agents."),
    "store": ("drbackup.cli.store", "store", "Find out which promises a store keeps."),
    "backup": ("drbackup.cli.backup", "backup", "Back up systems or single sources now."),
    "points": ("drbackup.cli.points", "points", "List, show, compare and hold recovery points."),
    "restore": ("drbackup.cli.restore", "restore", "Bring a point, or a part of it, back."),
    "drill": ("drbackup.cli.drill", "drill", "Prove that points can be restored."),
    "recover": ("drbackup.cli.recover", "recover", "Bring systems back in dependency order."),
    "vault": ("drbackup.cli.vault", "vault", "Read stores back, repair and fill them; rebuild the catalog."),
    "keys": ("drbackup.cli.keys", "keys", "Show public keys; join custodians' shares."),
    "evidence": ("drbackup.cli.evidence", "evidence", "Verify signed evidence of drills."),
    "report": ("drbackup.cli.report", "report", "Reports for people who do not run commands."),
    "daemon": ("drbackup.cli.daemon", "daemon", "Run the controller in the foreground."),
    "demo": ("drbackup.cli.demo", "demo", "Protect, burn and bring back a small city, here and now."),
}


def shared_options() -> list[click.Option]:
    """New copies of the options that may stand before or after the command's name.

    :class:`CliContext` reads the environment, not these options. Otherwise the option after the name would read its
    variable and replace the value that was given before the name.
    """

    def keep(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if value is not None and value is not False:
            state = context.ensure_object(CliContext)
            setattr(state, str(parameter.name), value)
            configure_libraries(state.log_level)
        return value

    return [
        click.Option(
            ["--home"],
            type=click.Path(path_type=Path),
            expose_value=False,
            callback=keep,
            help="The installation's state [DRBACKUP_HOME; /var/lib/drbackup, or the XDG state folder].",
        ),
        click.Option(
            ["--policies", "policies_folder"],
            type=click.Path(path_type=Path),
            expose_value=False,
            callback=keep,
            help="The folder of policies and inventory.yaml [DRBACKUP_POLICIES; /etc/drbackup/policies].",
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            callback=keep,
            help="Print one JSON document on stdout.",
        ),
        click.Option(
            ["--log-level"],
            type=click.Choice(["debug", "info", "warning", "error"]),
            expose_value=False,
            callback=keep,
            help="How much to log on stderr [warning].",
        ),
        click.Option(
            ["--log-format"],
            type=click.Choice(["console", "json", "journald"]),
            expose_value=False,
            callback=keep,
            help="How to write the log [console].",
        ),
    ]


def share(command: click.Command) -> click.Command:
    """``command`` itself, with the shared options added to it and to all its subcommands. Idempotent."""
    if isinstance(command, click.Group):
        for child in command.commands.values():
            share(child)
        return command
    taken = {name for parameter in command.params for name in parameter.opts}
    command.params.extend(option for option in shared_options() if not taken.intersection(option.opts))
    return command


class CommandList(click.Group):
    """The commands of :data:`COMMANDS`; each is imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _help = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{attribute} is no click command")
        return share(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands with one line of help each, made without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(word, text) for word, (_module, _attribute, text) in COMMANDS.items()])
