"""``drbackup backup``: the command's arguments and options.

The work is in :mod:`drbackup.cli.backup_runs`, which takes about 0.3 s to load. A local agent is started before that,
so both load at the same time.
"""

from __future__ import annotations

import click

from drbackup.cli.context import CliContext, pass_cli
from drbackup.fleet.spare import SpareAgent, may_fit


@click.command()
@click.argument("places", metavar="[SYSTEM[/SOURCE]]…", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every source of every system.")
@click.option("--jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="So many sources at once.")
@click.option("--accept-shrink", is_flag=True, help="The data was removed on purpose: a much smaller copy is right.")
@pass_cli
def backup(context: CliContext, places: tuple[str, ...], everything: bool, jobs: int, accept_shrink: bool) -> None:
    """Back up systems or single sources now.

    Exit code 3 when some were backed up and some were not; the error's own code when all failed alike.
    """
    with SpareAgent(wanted=may_fit(context.policies_folder)) as spare:
        from drbackup.cli.backup_runs import BackupRequest, back_up

        back_up(context, BackupRequest(places, everything, jobs, accept_shrink), spare.connect)
