"""``drbackup daemon``: the controller in the foreground. This process becomes ``drbackupd`` and gets its signals."""

from __future__ import annotations

import os
import sys

import click

from drbackup.cli.context import CliContext, pass_cli

_PROGRAM = "drbackup.daemon.daemon"  # started by name: the command and the service may not import each other


@click.command()
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Runs at the same time.")
@click.option(
    "--tick",
    type=click.FloatRange(0.1, 60),
    default=5.0,
    show_default=True,
    help="Seconds between two looks at what is due.",
)
@click.option("--once", is_flag=True, help="Do what is due now, wait for it and end: exit code 1 when a run failed.")
@pass_cli
def daemon(context: CliContext, workers: int, tick: float, once: bool) -> None:
    """Run due backups and drills of all policies until told to stop. SIGHUP reads the policies again."""
    words = ["--home", str(context.home), "--policies", str(context.policies_folder), "--workers", str(workers)]
    words += ["--tick", str(tick), "--log-level", context.log_level, "--log-format", context.log_format]
    words += [flag for flag, given in (("--once", once), ("--json", context.json)) if given]
    os.execv(sys.executable, [sys.executable, "-m", _PROGRAM, *words])
