"""``drbackup restore``: the command's arguments and options.

It brings one point, or parts of it, to a folder, a database, or back to where its source lives. A restore into an empty
place starts at once. One that may touch existing data shows its plan and needs ``--apply``.

The work is in :mod:`drbackup.cli.restore_runs`, which takes about 0.3 s to load. A local agent is started before that,
so both load at the same time.
"""

from __future__ import annotations

from pathlib import Path

import click

from drbackup.cli.context import CliContext, pass_cli
from drbackup.fleet.spare import SpareAgent


@click.command()
@click.argument("point", metavar="POINT|SYSTEM/SOURCE")
@click.option(
    "--at", default="", metavar="TIME|latest", help="With SYSTEM/SOURCE: the newest point not younger than it."
)
@click.option(
    "--to", "folder", type=click.Path(path_type=Path), help="Into this folder; stored paths are kept below it."
)
@click.option("--in-place", is_flag=True, help="Back to where the source lives by its policy.")
@click.option(
    "--database", metavar="NAME|FILE", help="Into another database of the source's server, or another SQLite file."
)
@click.option("--path", "paths", multiple=True, help="Only this file or folder of the point; may be repeated.")
@click.option("--on", "agent", default="", metavar="AGENT", help="Restore on this agent's host.")
@click.option("--replace", is_flag=True, help="Data that is there already may go.")
@click.option("--key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="An unsealing key's file.")
@click.option("--apply", "apply", is_flag=True, help="Really do what the plan says.")
@pass_cli
def restore(context: CliContext, /, **request: object) -> None:
    """Bring a recovery point back: to a folder, to a database, or in place.

    Without --on, --to restores on this machine, --in-place and --database on the source's own host. The bytes are
    opened with --key, else with the drill key if it is still here, else with the agent's own. In-place restores and
    --replace show their plan and want --apply.
    """
    here = request["folder"] is not None and not request["agent"]
    with SpareAgent({"DRBACKUP_AGENT_STATE": str(context.home / "agent")}, wanted=here) as spare:
        from drbackup.cli.restore_runs import RestoreCommand, bring_back

        bring_back(context, RestoreCommand(**request), spare.connect)  # type: ignore[arg-type]
