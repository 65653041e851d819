"""``drbackup report``: pages for people who do not run commands."""

from __future__ import annotations

from pathlib import Path

import click
from rich.text import Text

from drbackup.cli.context import CliContext, pass_cli
from drbackup.errors import UsageError
from drbackup.reports import month as pages
from drbackup.reports.words import _


@click.group()
def report() -> None:
    """Write reports for people who do not run commands."""


@report.command()
@click.argument("month", required=False, metavar="[YYYY-MM]")
@click.option("--format", "form", type=click.Choice(["markdown", "html"]), default="markdown", show_default=True)
@click.option("--to", "target", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@pass_cli
def month(context: CliContext, month: str | None, form: str, target: Path | None) -> None:
    """Report one month (default: the present one), system by system: backups, time within the RPO, drills, RTO."""
    installation, zone, now = context.installation(), context.zone(), context.now()
    try:
        span = pages.month_at(month or now.astimezone(zone).strftime("%Y-%m"), zone, now)
    except ValueError as bad:
        raise UsageError(f"no month to report: {bad}", hint="write it like 2026-11") from bad
    title = installation.policies.inventory.title
    systems = [
        pages.month_of(policy, pages.recall_month(installation.catalog, policy, span), span)
        for policy in installation.policies.policies.values()
    ]
    page = (pages.html if form == "html" else pages.markdown)(title, span, systems, zone)
    document = pages.document(title, span, systems)
    if target is None:
        context.show(document, Text(page.rstrip("\n")))
    else:
        target.write_text(page, encoding="utf-8")
        context.show({**document, "file": str(target)}, Text(_("report written to {path}").format(path=target)))
