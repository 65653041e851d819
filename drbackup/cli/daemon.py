"""``drbackup daemon``: the controller in the foreground, the same as ``drbackupd``."""

from __future__ import annotations

import click

from drbackup.cli.context import CliContext, pass_cli
from drbackup.controller.daemon import TICK_SECONDS, serve
from drbackup.controller.logs import configure


@click.command()
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Runs at the same time.")
@click.option(
    "--tick",
    type=click.FloatRange(0.1, 60),
    default=TICK_SECONDS,
    show_default=True,
    help="Seconds between two looks at what is due.",
)
@click.option("--once", is_flag=True, help="Do what is due now, wait for it and end: exit code 1 when a run failed.")
@pass_cli
def daemon(context: CliContext, workers: int, tick: float, once: bool) -> None:
    """Run due backups and drills of all policies until told to stop. SIGHUP reads the policies again."""
    configure(context.log_level, context.log_format)
    code = serve(context.home, context.policies_folder, workers=workers, once=once, tick=tick)
    context.show({"failed": bool(code)})
    click.get_current_context().exit(code)
